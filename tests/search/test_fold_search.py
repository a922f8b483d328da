"""A search with folds: what is reported, judged, told, and what becomes of the winner."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import result_of, run
from optuna.storages import InMemoryStorage
from recorded import space as recorded_space

from search.bridge import Bridge
from search.check.inspection import inspect
from search.finish import finish
from search.images import cut, load_images
from search.options import parse
from search.plan import make_plan
from search.rundir import RunDir
from search.space import load_space
from search.study import Record
from search.whole import Folded
from search.worker import Job, train
from xfer.cross_validate import read_out_of_fold
from xfer.data.dataset import Dataset
from xfer.evaluate.calibration import fit_calibration
from xfer.recipe import ConvNet, FixedThreshold, Head, Objective, Recipe, TargetRecall, to_json

FOLDS = 3
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.8))
SPACE = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe

DATA = Images("builtin:phantoms:120", positive="PNEUMONIA", size=32, channels=1)
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials=4, epochs=2)
KNOWN = {}


def space(trial: Trial) -> Recipe:
    size = trial.suggest_categorical("batch", BATCHES)
    return Recipe(model=ConvNet(kernels=(4,)), lr=1e-3, batch_size=size)
"""


def planned(folder: Path, *flags: str, batches: str = "[4, 8]") -> Any:
    path = folder / "mine.py"
    path.write_text(SPACE.replace("BATCHES", batches))
    return make_plan(load_space(path), parse([str(path), "--folds", str(FOLDS), *flags]))


# --------------------------------------------------------------------------------------------------
# What is judged


def told(folds: list[float]) -> dict[str, Any]:
    """What `xfer.cross_validate` gives after these folds, as a dict."""
    mean = float(np.mean(folds))
    return {
        "epoch": len(folds), "train": {"loss": 1.0}, "val": {"recall": mean}, "lr": 1e-3,
        "search_score": mean, "scores": folds, "epochs": [2] * len(folds), "threshold": None,
        "best": True, "seconds": 1.0, "stopped": None,
    }  # fmt: skip


@pytest.fixture
def record() -> Iterator[Record]:
    with Record(InMemoryStorage(), name="s", seed=0, epochs=4, folds=FOLDS) as opened:
        yield opened


def report(record: Record, *folds: float) -> int:
    number = record.ask(recorded_space).number
    for count in range(1, len(folds) + 1):
        record.report(number, told(list(folds[:count])))
    return number


def test_a_trial_is_worth_the_mean_of_its_folds_and_not_its_best_one(record: Record) -> None:
    number = report(record, 0.9, 0.6, 0.6)
    assert record.is_last(number)
    record.tell_complete(number, "all")
    [row] = record.rows()
    assert row.value == pytest.approx(0.7)
    assert row.best_epoch is None
    assert record.study.trials[number].user_attrs["best"]["scores"] == [0.9, 0.6, 0.6]


def test_a_rung_is_a_finished_fold_and_compares_the_same_folds(record: Record) -> None:
    for folds in ((0.8, 0.2, 0.2), (0.7, 0.9, 0.9)):
        record.tell_complete(report(record, *folds), "all")
    # After one fold .75 is second of three: poor, though better than .8's mean in the end.
    assert record.should_prune(report(record, 0.75)) == "among the poorer after fold 1"
    assert record.should_prune(report(record, 0.85)) is None


def test_later_rungs_judge_the_mean_so_far_and_not_the_best_so_far() -> None:
    with Record(InMemoryStorage(), name="s", seed=0, epochs=4, folds=5) as record:
        for folds in ((0.9, 0.1, 0.1), (0.85, 0.8, 0.8), (0.84, 0.82, 0.8)):
            report(record, *folds)
        first = record.study.trials[0]
        assert record.study.pruner.prune(record.study, first)  # its best is the best of all
        assert not record.study.pruner.prune(record.study, record.study.trials[2])


def test_epochs_within_a_fold_are_not_recorded_but_can_end_the_trial(record: Record) -> None:
    now = [0.0]
    bridge = Bridge(record, recorded_space, trials=3, slots=1, limit_s=10, clock=lambda: now[0])
    config = bridge.propose()
    assert config is not None
    number = config["number"]
    within = {"number": number, "epoch": 0, "within": 2.0}
    now[0] = 5.0
    assert bridge.heard(number, within)  # the limit counts from 3.0 on
    assert record.study.trials[number].intermediate_values == {}
    now[0] = 12.9
    assert bridge.heard(number, within)
    now[0] = 13.1
    assert not bridge.heard(number, within)
    assert bridge.stopping == "minutes"
    assert record.counts() == {"waiting": 1}


# --------------------------------------------------------------------------------------------------
# What is trained


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Any]:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "store"))
    plan = planned(tmp_path)
    data, loading = load_images(plan, ("bilinear",))
    return data, cut(plan, data, loading)


def trained(folder: Path, data: Dataset, folds: Any, objective: Objective = OBJECTIVE) -> Any:
    recipe = Recipe(model=ConvNet(kernels=(4,)), head=Head(), lr=1e-2, batch_size=8, epochs=2)
    job = Job(
        data=data.without("test"), objective=objective, checkpoints=folder / "checkpoints",
        threads=1, device="cpu", folds=folds,
    )  # fmt: skip
    config = {"number": 0, "recipe": to_json(recipe), "seed": 3, "last_epoch": 0}
    return list(train(config, job)), to_json(recipe)


def finished(folder: Path, data: Dataset, folds: Any, objective: Objective = OBJECTIVE) -> Any:
    results, recipe = trained(folder, data, folds, objective)
    run = RunDir(folder)
    with Record(
        InMemoryStorage(), name="s", seed=0, epochs=2, folds=FOLDS, known={"it": {}}
    ) as record:
        number = record.ask(recorded_space).number
        for result in results:
            if "within" not in result:
                record.report(number, result)
        record.tell_complete(number, "all epochs")
        [row] = record.rows()
    row = replace(row, recipe=recipe)
    return run, finish(run, [row], data, objective, demo=False, folded=Folded(seed=0, threads=1))


def test_a_worker_reports_each_fold_and_between_them_that_it_lives(
    tmp_path: Path, loaded: tuple[Dataset, Any]
) -> None:
    results, _ = trained(tmp_path, *loaded)
    assert ["within" in result for result in results] == ([True] * 2 + [False]) * FOLDS
    assert [r["epoch"] for r in results if "within" not in r] == [1, 2, 3]
    json.dumps(results)


def test_the_threshold_comes_from_answers_out_of_fold(
    tmp_path: Path, loaded: tuple[Dataset, Any]
) -> None:
    data, folds = loaded
    run, done = finished(tmp_path, data, folds)
    answers = read_out_of_fold(run.checkpoint(0), FOLDS)
    asked = {int(row) for part in ("train", "val") for row in data.splits[part]}
    assert set(answers.rows.tolist()) == asked
    assert done.threshold["chosen_on"].startswith(f"{len(asked)} images of 3 folds")
    positive = answers.labels == 1
    calibrated = fit_calibration(answers.logits, answers.labels).apply(answers.logits)
    found = (calibrated[positive, 1] >= done.threshold["value"]).mean()
    assert found >= 0.8
    assert done.test["confusion"]["tp"] + done.test["confusion"]["fn"] > 0
    assert (run.best / "model.safetensors").is_file()


def test_a_model_that_calls_everybody_positive_is_marked(
    tmp_path: Path, loaded: tuple[Dataset, Any]
) -> None:
    everybody = replace(OBJECTIVE, threshold=FixedThreshold(0.0))
    _, done = finished(tmp_path, *loaded, objective=everybody)
    assert any(mark.startswith("The model tells nobody apart: at its threshold of 0 all") for mark
               in done.marks)  # fmt: skip


# --------------------------------------------------------------------------------------------------
# What is told before


def test_batches_are_held_against_the_smallest_fold(tmp_path: Path) -> None:
    plan = planned(tmp_path, batches="[4, 60]")
    inspection = inspect(plan)
    assert inspection.folds is not None
    assert len(inspection.folds) == FOLDS
    assert inspection.splits is not None
    smallest = min(len(fold.train) for fold in inspection.folds)
    assert smallest < 60 < len(inspection.splits.train)
    assert any(
        f"'batch' may be 60, and there are {smallest} training images" in problem
        for problem in inspection.checked.problems
    )


def test_folds_that_cannot_be_cut_are_told_before_anything_is_read(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        for kind in ("ill", "well"):
            folder = tmp_path / "set" / part / kind
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").write_bytes(b"not looked at")
    flags = ("--folds", "9", "--data", str(tmp_path / "set"), "--positive", "ill")
    problems = inspect(planned(tmp_path, *flags)).checked.problems
    assert any("9 folds cannot be cut by patient" in problem for problem in problems)


@pytest.mark.slow
def test_a_search_with_folds_is_complete(tmp_path: Path) -> None:
    said = run(
        tmp_path, "spaces/pneumonia.py", "--demo", "--folds", "3", "--trials", "3", "--epochs", "2",
        "--backbones", "convnet", "--minutes", "4",
    )  # fmt: skip
    assert "over 3 of 3 folds" in said
    result = result_of(tmp_path / "runs" / "pneumonia")
    assert result["best"]["epoch"] is None
    # Fold models speak for the winner unless its own answers contradict them, and that is marked.
    doubted = any(mark.startswith("The fold models' probab") for mark in result["marks"])
    where = "validation, 96 images" if doubted else "480 images of 3 folds"
    assert result["threshold"]["chosen_on"].startswith(where)
    assert result["trials"]["complete"] + result["trials"]["pruned"] == 3
