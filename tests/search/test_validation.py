"""Answers on validation are kept of every trial; who answers the same to everybody cannot win."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from search.corrected import correct
from search.keeping import keep_best_checkpoints, ranked
from search.rundir import RunDir
from search.scores import corrected_said
from search.trials import TrialRow
from search.validation import (
    choose_eligible,
    judge,
    keep_answers,
    may_win,
    read_answers,
    write_answers,
)
from tests.xfer.tiny_data import CPU, tiny_data, tiny_recipe
from tests.xfer.tiny_data import OBJECTIVE as TINY
from xfer.cross_validate import cross_validate
from xfer.data.folds import cut_folds
from xfer.evaluate.answers import ranked as as_ranked
from xfer.evaluate.objectives import search_score
from xfer.recipe import Objective
from xfer.recipe.objective import ObjectiveName
from xfer.train import fit

NUMBERS: dict[str, dict[str, Any]] = {
    "cost": {"miss_cost": 5.0},
    "specificity_at_recall": {"at": 0.9},
    "recall_at_specificity": {"at": 0.9},
    "partial_auroc": {"above": 0.8},
    "recall_weighted": {"recall_weight": 0.75},
}
OBJECTIVES = [Objective(name, **NUMBERS.get(name, {})) for name in get_args(ObjectiveName)]
IMAGES = 120
LABELS = np.arange(IMAGES) // 2 % 2
DATA: Any = SimpleNamespace(
    patients=tuple(str(i // 2) for i in range(IMAGES)),
    subgroups=(None,) * IMAGES,
    positive=1,
)


def answers(kind: str) -> np.ndarray:
    """Log-odds of a trial."""
    rng = np.random.default_rng(0)
    if kind == "sick":
        return np.full(IMAGES, 900.0)
    if kind == "nearly":
        nearly = np.full(IMAGES, 900.0)
        nearly[0] = -900.0  # one healthy image is told
        return nearly
    return 3.0 * (2 * LABELS - 1) + rng.normal(0, 2, IMAGES)


def searched(
    folder: Path, *kinds: str, scores: list[float], objective: Objective, data: Any = DATA
) -> tuple[RunDir, list[TrialRow]]:
    run = RunDir(folder)
    run.root.mkdir(exist_ok=True)
    rows = []
    for number, (kind, score) in enumerate(zip(kinds, scores, strict=True)):
        logits = np.stack([np.zeros(IMAGES), answers(kind)], axis=1)
        write_answers(
            run, number, data, objective, logits=logits, labels=LABELS, rows=np.arange(IMAGES)
        )
        run.checkpoint(number).mkdir(parents=True)
        rows.append(
            TrialRow(
                number=number, name=None, state="complete", value=score, params={}, recipe={},
                best_epoch=1, seconds=1.0, ended="all epochs",
            )
        )  # fmt: skip
    return run, rows


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_a_constant_and_a_nearly_constant_trial_never_win(
    tmp_path: Path, objective: Objective
) -> None:
    run, rows = searched(
        tmp_path, "sick", "nearly", "skilled", scores=[0.99, 0.98, 0.5], objective=objective
    )
    best, said = choose_eligible(run, ranked(rows))
    assert best.number == 2
    assert said == [
        "Trials 0, 1 were passed over in spite of a higher search score: not shown to be better "
        "than the same answer for every image."
    ]


def test_where_no_trial_is_shown_to_be_better_the_first_wins_and_it_is_said(
    tmp_path: Path,
) -> None:
    run, rows = searched(tmp_path, "sick", "nearly", scores=[0.8, 0.9], objective=OBJECTIVES[0])
    best, said = choose_eligible(run, ranked(rows))
    assert best.number == 1
    assert said == [
        "No trial is shown to be better than the same answer for every image: do not use this "
        "model."
    ]


def test_a_skilled_trial_wins_without_a_word(tmp_path: Path) -> None:
    run, rows = searched(tmp_path, "skilled", "sick", scores=[0.9, 0.75], objective=OBJECTIVES[0])
    assert choose_eligible(run, ranked(rows)) == (rows[0], [])


def test_patients_who_all_have_both_classes_keep_nobody_from_winning(tmp_path: Path) -> None:
    mixed: Any = SimpleNamespace(
        **vars(DATA) | {"patients": tuple(f"p{i % 30}" for i in range(IMAGES))}
    )
    assert len({(p, label) for p, label in zip(mixed.patients, LABELS, strict=True)}) == 60
    run, rows = searched(
        tmp_path, "sick", "skilled", scores=[0.9, 0.85], objective=OBJECTIVES[0], data=mixed
    )
    best, _ = choose_eligible(run, ranked(rows))
    assert best.number == 1
    assert correct(run, rows, mixed, OBJECTIVES[0], folds=False) is not None


def test_the_best_score_is_corrected_among_all_that_have_answers(tmp_path: Path) -> None:
    objective = OBJECTIVES[0]
    run, rows = searched(tmp_path, "skilled", "nearly", scores=[0.9, 0.75], objective=objective)
    found = correct(run, rows, DATA, objective, folds=False)
    assert found is not None
    kept = read_answers(run, 0)
    assert kept is not None
    naive, _ = search_score(objective, as_ranked(objective, kept.logits), LABELS)
    assert found["naive"] == pytest.approx(naive)
    assert found["low"] <= found["value"] <= found["high"]
    assert found["trials"] == 1  # who cannot win is not among them
    assert correct(RunDir(tmp_path / "none"), rows, DATA, objective, folds=False) is None


def test_a_kept_file_of_answers_is_opened_once_and_again_when_it_was_written_again(
    tmp_path: Path,
) -> None:
    run, _ = searched(tmp_path, "skilled", scores=[0.9], objective=OBJECTIVES[0])
    assert may_win(run, 0)
    assert not may_win(run, 1)
    file = run.answers(0)
    content, times = file.read_bytes(), file.stat().st_mtime_ns
    file.write_bytes(b"not read")
    os.utime(file, ns=(times, times))
    assert may_win(run, 0)
    searched(tmp_path / "other", "sick", scores=[0.9], objective=OBJECTIVES[0])
    file.write_bytes(RunDir(tmp_path / "other").answers(0).read_bytes())
    os.utime(file, ns=(times + 1, times + 1))
    assert not may_win(run, 0)
    file.write_bytes(content)
    os.utime(file, ns=(times + 2, times + 2))
    assert may_win(run, 0)


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("better", [True, False])
def test_a_trial_that_wins_unfinished_is_judged_by_what_it_answered(
    folds: bool, better: bool, tmp_path: Path
) -> None:
    run, tiny = RunDir(tmp_path), tiny_data(train=60, val=40)
    patients = tuple(map(str, range(100)))
    if not better:  # there is nothing to learn
        tiny = replace(tiny, labels=np.random.default_rng(0).permutation(tiny.labels))
    recipe = tiny_recipe(epochs=10)
    given: dict[str, Any] = {"seed": 0, "checkpoint": run.checkpoint(0), "device": CPU}
    if folds:
        cut = cut_folds(np.arange(100), labels=tiny.labels, patients=patients, folds=2, seed=0)
        list(cross_validate(recipe, tiny, cut, TINY, **given))
    else:
        list(fit(recipe, tiny, TINY, **given))
    data: Any = SimpleNamespace(patients=patients, subgroups=(None,) * 100, splits=tiny.splits)
    row: Any = SimpleNamespace(number=0, scores={1: 0.5, 2: 0.5})  # by fold
    mark = judge(run, row, data, TINY, folds=folds)
    assert mark == (None if better else (
        "Trial 0 is not shown to be better than the same answer for every image: do not use this "
        "model."
    ))  # fmt: skip
    assert not run.answers(0).exists()  # it may be gone on with
    keep_answers(run, row, data, TINY, folds=folds)
    assert may_win(run, 0) == better


@pytest.mark.parametrize("rare", [1, 10])
def test_the_worst_subgroups_score_is_corrected_where_it_has_patients_enough(
    rare: int, tmp_path: Path
) -> None:
    objective = Objective("recall_weighted", recall_weight=0.75, over="worst_subgroup")
    sick = np.flatnonzero(LABELS == 1)
    named = [None if LABELS[i] == 0 else "common" for i in range(IMAGES)]
    for i in sick[: 2 * rare]:
        named[i] = "rare"
    data: Any = SimpleNamespace(**vars(DATA) | {"subgroups": tuple(named)})
    run, rows = searched(tmp_path, "skilled", scores=[0.9], objective=objective, data=data)
    found = correct(run, rows, data, objective, folds=False)
    if rare == 1:
        assert found is None
        return
    assert found is not None
    kept = read_answers(run, 0)
    assert kept is not None
    probabilities = as_ranked(objective, kept.logits)
    naive, _ = search_score(objective, probabilities, LABELS, subgroups=named)
    assert found["naive"] == pytest.approx(naive)
    assert found["low"] <= found["value"] <= found["high"]


def test_what_may_win_keeps_its_checkpoint(tmp_path: Path) -> None:
    kinds = ["sick", "nearly", "sick", "skilled", "skilled", "sick"]
    scores = [0.99, 0.98, 0.97, 0.6, 0.5, 0.4]
    run, rows = searched(tmp_path, *kinds, scores=scores, objective=OBJECTIVES[0])
    keep_best_checkpoints(run, rows, keep=2)
    left = {int(path.name) for path in run.checkpoints.iterdir()}
    assert left == {0, 1, 3, 4}
    assert choose_eligible(run, ranked(rows))[0].number == 3


def epochs_of(number: int, scores: list[float]) -> np.ndarray:
    """Log-odds (epochs, images, 2) of a trial that learns, in float32 as models give them."""
    rng = np.random.default_rng(number)
    odds = [score * (2 * LABELS - 1) + rng.normal(0, 2, IMAGES) for score in scores]
    return np.stack([np.stack([np.zeros(IMAGES), each], axis=1) for each in odds]).astype("f4")


def test_all_epochs_of_a_trial_are_kept_with_its_answers(tmp_path: Path) -> None:
    run, tiny = RunDir(tmp_path), tiny_data(train=60, val=40)
    list(fit(tiny_recipe(epochs=3), tiny, TINY, seed=0, checkpoint=run.checkpoint(0), device=CPU))
    data: Any = SimpleNamespace(
        patients=tuple(map(str, range(100))), subgroups=(None,) * 100, splits=tiny.splits
    )
    row: Any = SimpleNamespace(number=0)
    keep_answers(run, row, data, TINY, folds=False)
    kept = read_answers(run, 0)
    assert kept is not None
    assert kept.epochs is not None
    assert kept.epochs.shape == (3, 40, 2)
    assert any((epoch == kept.logits).all() for epoch in kept.epochs)


def test_the_choice_of_the_epoch_is_corrected_where_all_epochs_are_known(tmp_path: Path) -> None:
    objective = Objective("auroc")
    run, rows = searched(
        tmp_path, "skilled", "skilled", "skilled", scores=[0.9, 0.9, 0.9], objective=objective
    )
    best: list[np.ndarray] = []
    for number in range(3):
        epochs = epochs_of(number, [2.0] * 10)
        scores = [
            search_score(objective, as_ranked(objective, epoch.astype(float)), LABELS)[0]
            for epoch in epochs
        ]
        best.append(epochs[int(np.argmax(scores))])
        write_answers(
            run, number, DATA, objective, logits=best[-1].astype(float), labels=LABELS,
            rows=np.arange(IMAGES), epochs=epochs,
        )  # fmt: skip
    whole = correct(run, rows, DATA, objective, folds=False)
    assert whole is not None
    assert (whole["by"], whole["trials"]) == ("epochs", 3)
    assert "not corrected" not in str(corrected_said({"corrected": whole}))
    write_answers(
        run, 0, DATA, objective, logits=best[0].astype(float), labels=LABELS,
        rows=np.arange(IMAGES),
    )  # fmt: skip
    partly = correct(run, rows, DATA, objective, folds=False)
    assert partly is not None
    assert partly["by"] == "validation"  # of a run that is older than they are
    assert "not corrected" in str(corrected_said({"corrected": partly}))
    assert whole["naive"] == partly["naive"]
    assert whole["value"] < partly["value"]
