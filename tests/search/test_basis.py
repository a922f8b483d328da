"""Fold models speak for the model that ships on its own scale, unless its answers deny it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.basis import FEWEST, Basis, chosen_basis
from xfer.cross_validate import OutOfFold
from xfer.evaluate.calibration import fit_calibration

FOLDS = 5
EVERY = np.arange(200)
VAL = EVERY[:60]
SAME_LINES = np.tile([1.0, 0.0], (FOLDS, 1))


class Case:
    """200 images, 60 of them validation, and what six models of one quality answer to them."""

    def __init__(self, classes: int = 2) -> None:
        generator = np.random.default_rng(0)
        self.labels = EVERY % classes
        self.fold = (EVERY // classes) % FOLDS
        truth = 2.0 * np.eye(classes)[self.labels] + generator.normal(0, 1.0, (200, classes))
        self.by_folds = truth + generator.normal(0, 0.3, truth.shape)
        self.own = truth[VAL] + generator.normal(0, 0.3, (60, classes))
        if classes == 2:
            self.by_folds[:, 0] = self.own[:, 0] = 0.0

    def out_of_fold(self, lines: np.ndarray = SAME_LINES, *, folds: int = FOLDS) -> OutOfFold:
        """Answers of these fold models, each on a line of its own: slope and intercept."""
        order = np.argsort(self.fold, kind="stable")
        rows = order[self.fold[order] < folds]
        lines = lines[self.fold[rows]]
        logits = lines[:, :1] * self.by_folds[rows]
        logits[:, -1] += lines[:, 1]
        return OutOfFold(
            rows=rows, logits=logits, labels=self.labels[rows], folds=folds,
            scores=(0.9,) * folds, sizes=tuple(np.bincount(self.fold)[:folds].tolist()),
        )  # fmt: skip


def basis(
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
    out_of_fold: OutOfFold | None,
    own: np.ndarray | None = None,
    *,
    val: np.ndarray = VAL,
) -> Basis:
    """What is chosen where the model that ships answers this to validation."""
    answered = (case.own if own is None else own)[: len(val)]
    best = SimpleNamespace(logits=answered, labels=case.labels[val])
    monkeypatch.setattr("xfer.checkpoint.read_best", lambda _: best)
    data: Any = SimpleNamespace(splits={"val": val}, patients=tuple(map(str, EVERY)))
    return chosen_basis(Path("checkpoint"), data, out_of_fold)


def on_line(logits: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    moved = slope * logits
    moved[:, -1] += intercept
    return moved


def said_of(found: Basis, logits: np.ndarray) -> np.ndarray:
    return fit_calibration(found.logits, found.labels).apply(logits)


@pytest.mark.parametrize("slope", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("intercept", [-20.0, 0.0, 4.0])
def test_on_whichever_scale_fold_models_answer_they_speak_on_the_model_s_own(
    monkeypatch: pytest.MonkeyPatch, slope: float, intercept: float
) -> None:
    case = Case()
    plain = basis(monkeypatch, case, case.out_of_fold())
    lines = np.array([[1, 0], [3, -2], [0.2, 1], [10, 50], [0.7, -0.3]])
    own = on_line(case.own, slope, intercept)
    found = basis(monkeypatch, case, case.out_of_fold(lines), own)
    assert (found.part, found.mark, len(found.labels)) == ("folds", "", 200)
    assert found.said.startswith("200 images of 5 folds, each answered by a model that had not ")
    assert found.low is not None
    assert (found.low[:, 1] < found.logits[:, 1]).all()
    assert said_of(found, own) == pytest.approx(said_of(plain, case.own), abs=1e-6)


def test_the_calibration_is_nearer_to_the_truth_than_that_of_a_few_own_answers() -> None:
    errors: dict[str, list[float]] = {"folds": [], "val": []}
    for seed in range(40):
        generator = np.random.default_rng(seed)
        with pytest.MonkeyPatch.context() as patch:
            case = Case()
            latent = generator.normal(2 * case.labels - 1, 1.0)  # log-odds 2 x, at equal classes
            near = [latent + generator.normal(0, 0.3, 200) for _ in range(2)]
            case.by_folds = np.column_stack((np.zeros(200), near[0]))
            case.own = np.column_stack((np.zeros(60), near[1][VAL]))
            lines = np.column_stack((generator.uniform(0.5, 2, 5), generator.normal(0, 1, 5)))
            asked = np.array([[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]])
            truth = 1 / (1 + np.exp(-2 / (1 + 0.3**2) * asked[:, 1]))
            for part, answers in (("folds", case.out_of_fold(lines)), ("val", None)):
                found = basis(patch, case, answers)
                errors[part].append(float(np.abs(said_of(found, asked)[:, 1] - truth).mean()))
    assert np.mean(errors["folds"]) < 0.75 * np.mean(errors["val"])


def test_of_several_classes_only_the_stretch_is_the_model_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case(classes=3)
    lines = np.array([[slope, 0.0] for slope in (1.0, 3.0, 0.2, 10.0, 0.7)])
    plain = basis(monkeypatch, case, case.out_of_fold())
    found = basis(monkeypatch, case, case.out_of_fold(lines), 25 * case.own)
    assert (found.part, found.mark) == ("folds", "")
    assert said_of(found, 25 * case.own) == pytest.approx(said_of(plain, case.own), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_where_a_models_own_answers_deny_what_fold_models_say_they_are_taken(
    monkeypatch: pytest.MonkeyPatch, classes: int
) -> None:
    case = Case(classes)
    backwards = -case.own  # no line with a rising slope makes of it what the fold models say
    found = basis(monkeypatch, case, case.out_of_fold(), backwards)
    assert (found.part, len(found.labels)) == ("val", 60)
    assert np.array_equal(found.logits, backwards)
    assert found.mark.startswith("The fold models' probabilities are not the model's")
    assert "contradict" in found.mark
    assert found.mark.endswith("come from 60 validation images instead.")


def test_a_fold_model_that_answers_the_same_to_all_images_has_no_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case()
    flat = SAME_LINES.copy()
    flat[3, 0] = 0.0
    found = basis(monkeypatch, case, case.out_of_fold(flat))
    assert found.part == "val"
    assert "cannot be brought to its scale" in found.mark


@pytest.mark.parametrize(("shared", "part"), [(FEWEST, "folds"), (FEWEST - 1, "val")])
def test_too_few_images_that_both_answered_make_no_line(
    monkeypatch: pytest.MonkeyPatch, shared: int, part: str
) -> None:
    case = Case()
    found = basis(monkeypatch, case, case.out_of_fold(), val=EVERY[:shared])
    assert found.part == part
    assert ("cannot be brought to its scale" in found.mark) == (part == "val")


def test_folds_that_are_not_all_finished_speak_by_what_they_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = Case()
    found = basis(monkeypatch, case, case.out_of_fold(folds=3), 5 * case.own)
    assert (found.part, len(found.labels)) == ("folds", 120)
    moved, at = case.own[np.isin(case.fold[VAL], [0, 1, 2])], np.isin(found.rows, VAL)
    assert found.logits[at, 1].mean() == pytest.approx(5 * moved[:, 1].mean())
    assert found.logits[at, 1].std() == pytest.approx(5 * moved[:, 1].std())


def test_without_fold_models_there_is_nothing_to_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    found = basis(monkeypatch, Case(), None)
    assert (found.part, found.said, found.mark) == ("val", "validation, 60 images", "")
    assert found.low is None
