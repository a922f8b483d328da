"""What the winner has to beat: fitted on train, its threshold from val, test asked once."""

import re
from dataclasses import replace

import numpy as np
import pytest

from search.controls import FACTS, score_controls
from search.report.html import Html
from search.report.outcome import controls
from xfer.data.audit import audit
from xfer.data.dataset import Dataset, load_dataset
from xfer.data.fact_table import FactTable
from xfer.recipe import Images, Objective, TargetRecall
from xfer.store import Store

OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.6))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, FactTable]:
    images = Images("builtin:phantoms:200", positive="PNEUMONIA", size=32, channels=1)
    data, loading = load_dataset(images, store=Store(tmp_path_factory.mktemp("store")))
    return data, audit(data, loading).facts


def planted(data: Dataset, facts: FactTable) -> FactTable:
    """With the mean of the pixels giving the class away."""
    values = facts.values.copy()
    values[:, facts.names.index("mean")] = data.labels
    return replace(facts, values=values)


def test_what_files_give_away_is_found_on_test(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    found = score_controls(planted(data, facts), data, OBJECTIVE)[FACTS]
    assert found["auroc"]["value"] == 1.0
    counts = found["confusion"]
    assert counts["tp"] + counts["fn"] == (data.labels[data.splits["test"]] == 1).sum()
    assert (counts["fn"], counts["fp"]) == (0, 0)


def test_no_label_of_test_reaches_a_control(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    labels = data.labels.copy()
    labels[data.splits["test"]] = 1 - labels[data.splits["test"]]
    other = score_controls(facts, replace(data, labels=labels), OBJECTIVE)[FACTS]
    own = score_controls(facts, data, OBJECTIVE)[FACTS]
    assert own["confusion"]["tp"] == other["confusion"]["fp"]  # the same decisions
    assert own["confusion"]["fn"] == other["confusion"]["tn"]


def test_several_classes_have_a_matrix(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    classes = replace(data, positive=None)
    found = score_controls(planted(data, facts), classes, Objective("balanced_accuracy"))[FACTS]
    assert np.trace(found["confusion"]["matrix"]) == len(data.splits["test"])


def test_without_facts_there_is_no_control(loaded: tuple[Dataset, FactTable]) -> None:
    assert score_controls(None, loaded[0], OBJECTIVE) == {}


def test_the_report_shows_them_beside_the_winner(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    found = score_controls(planted(data, facts), data, OBJECTIVE)
    page = controls({"test": score_controls(facts, data, OBJECTIVE)[FACTS], "controls": found})
    assert isinstance(page, Html)
    text = re.sub(r"<[^>]+>", " ", str(page))
    assert "What it has to beat" in text
    assert re.search(r"metric\s+the winner\s+file facts only", text)
    assert re.search(r"recall\s+\S+ \(.*?\)\s+1\.00 \(", text)
    assert controls({"test": {}, "controls": None}) is None
