"""What the winner has to beat: fitted on train, its threshold from val, test asked once."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.controls import CONSTANT, FACTS, PROBE, answer_as_controls, score_controls
from search.report.html import Html
from search.report.tested import controls
from search.scores import compare
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


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def scored(facts: FactTable | None, data: Dataset, objective: Objective = OBJECTIVE) -> Any:
    found = score_controls(answer_as_controls(data, objective, facts=facts), data, objective)
    return {name: measured.metrics for name, measured in found.items()}


def test_what_files_give_away_is_found_on_test(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    found = scored(planted(data, facts), data)[FACTS]
    assert found["auroc"]["value"] == 1.0
    counts = found["confusion"]
    assert counts["tp"] + counts["fn"] == (data.labels[data.splits["test"]] == 1).sum()
    assert (counts["fn"], counts["fp"]) == (0, 0)


def test_no_label_of_test_reaches_a_control(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    labels = data.labels.copy()
    labels[data.splits["test"]] = 1 - labels[data.splits["test"]]
    others = scored(facts, replace(data, labels=labels))
    for name, own in scored(facts, data).items():
        assert own["confusion"]["tp"] == others[name]["confusion"]["fp"]  # the same decisions
        assert own["confusion"]["fn"] == others[name]["confusion"]["tn"]


@pytest.mark.parametrize(("weight", "recall"), [(0.9, 1.0), (0.1, 0.0)])
def test_the_best_constant_calls_all_positive_or_none(
    loaded: tuple[Dataset, FactTable], weight: float, recall: float
) -> None:
    objective = replace(OBJECTIVE, recall_weight=weight)
    found = scored(None, loaded[0], objective)[CONSTANT]
    assert (found["recall"]["value"], found["specificity"]["value"]) == (recall, 1 - recall)


def test_several_classes_have_a_matrix(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    classes = replace(data, positive=None)
    found = scored(planted(data, facts), classes, Objective("balanced_accuracy"))
    images = len(data.splits["test"])
    assert np.trace(found[FACTS]["confusion"]["matrix"]) == images
    assert np.array(found[CONSTANT]["confusion"]["matrix"]).sum() == images


def test_without_facts_and_weights_the_constant_alone_is_left(
    loaded: tuple[Dataset, FactTable],
) -> None:
    assert list(scored(None, loaded[0])) == [CONSTANT]


@pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set")
def test_with_weights_at_hand_there_is_a_linear_probe(
    loaded: tuple[Dataset, FactTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Path(os.environ["XFER_DATA"]).parent / "weights"
    if not weights.is_dir():
        pytest.skip(f"there is no {weights}")
    monkeypatch.setenv("TORCH_HOME", str(weights))
    assert scored(None, loaded[0])[PROBE]["auroc"]["value"] > 0.7


def test_the_report_shows_them_beside_the_winner(loaded: tuple[Dataset, FactTable]) -> None:
    data, facts = loaded
    found = scored(planted(data, facts), data)
    difference = {"metric": "auroc", "value": -0.5, "low": -0.6, "high": -0.4, "beaten": False}
    found = {name: metrics | {"difference": difference} for name, metrics in found.items()}
    page = controls({"test": scored(facts, data)[FACTS], "controls": found})
    assert isinstance(page, Html)
    text = re.sub(r"<[^>]+>", " ", str(page))
    assert "What it has to beat" in text
    assert re.search(r"metric\s+the winner\s+best constant\s+file facts only", text)
    assert re.search(r"auroc\s+\S+ \(.*?\)\s+\.50 \(.*?\)\s+1\.00 \(", text)
    assert "file facts only: better than the winner (auroc -.50, -.60 to -.40)." in text
    assert controls({"test": {}, "controls": None}) is None


def test_the_winner_is_compared_by_the_objective_in_pairs(
    loaded: tuple[Dataset, FactTable],
) -> None:
    data, facts = loaded
    answers = answer_as_controls(data, OBJECTIVE, facts=planted(data, facts))
    found = score_controls(answers, data, OBJECTIVE)
    better = compare(found[FACTS], found[CONSTANT], OBJECTIVE)
    weighted = 0.75 * 1 + 0.25 * 1 - 0.75
    assert (better["metric"], better["beaten"]) == ("recall_weighted", True)
    assert better["value"] == pytest.approx(weighted)
    assert 0 < better["low"] <= better["value"] <= better["high"]
    worse = compare(found[CONSTANT], found[FACTS], OBJECTIVE)
    assert worse["value"] == pytest.approx(-weighted)
    same = compare(found[FACTS], found[FACTS], OBJECTIVE)
    assert (same["value"], same["beaten"], same["better"]) == (0.0, False, 0.5)
    by_ranking = compare(found[FACTS], found[CONSTANT], Objective("auroc"))
    assert (by_ranking["metric"], by_ranking["value"]) == ("auroc", 0.5)
