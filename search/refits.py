"""Which of the best trials is the best? They are trained again, on folds, with other seeds.

A search ranks its trials by one validation part, where the first of many is the luckiest, too. So
the best few train anew: on folds by patient of train and validation together, each image answered
by a model that has not seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from search.rundir import RunDir
from search.sentences import MARGIN
from search.trials import EpochDone, Event, TrialEnded, TrialRow, TrialStarted, summed
from search.validation import is_better_than_constant, whose
from xfer.recipe import Objective, from_json

if TYPE_CHECKING:
    from xfer.cross_validate import OutOfFold
    from xfer.data.dataset import Dataset

_SEED = 0  # of draws: the same answers, the same verdict
_TRIAL = "trial "
Shown = TypeVar("Shown", TrialRow, TrialStarted, EpochDone, TrialEnded, Event)


@dataclass(frozen=True, kw_only=True, eq=False)
class Refit:
    """A trial that was trained again, on all folds."""

    row: TrialRow
    """The trial."""
    answers: OutOfFold
    """To every image of train and validation."""
    scores: tuple[float, ...]
    """The search score on each fold, in the folds' order: paired with another's."""
    parameters: int
    """That are trained."""
    eligible: bool
    """Its answers are shown to be better than the same answer for every image."""

    @property
    def mean(self) -> float:
        """Of the scores."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True, kw_only=True, eq=False)
class Final:
    """What came of training the best again."""

    refits: tuple[Refit, ...]
    """Best search score first; the first known configuration last where it is not among these."""
    chosen: Refit
    """The winner."""
    probabilities: tuple[float, ...]
    """How often each is the best when patients are drawn again."""

    def best(self, count: int) -> list[TrialRow]:
        """Trials with the best means, best first; those alone that may win."""
        may = [refit for refit in self._by_mean() if refit.eligible]
        return [refit.row for refit in may[:count]]

    def passed_over(self) -> list[str]:
        """What has to be said of finalists with a better mean that may not win."""
        return [
            f"Trial {refit.row.number} was passed over in spite of a better mean over folds: not "
            "shown to be better than the same answer for every image."
            for refit in self._by_mean()
            if not refit.eligible and refit.mean > self.chosen.mean
        ]

    def _by_mean(self) -> list[Refit]:
        return sorted(self.refits, key=lambda refit: (-refit.mean, refit.row.number))

    def of(self, row: TrialRow) -> Refit | None:
        """The refit of a trial, if it was trained again."""
        return next((refit for refit in self.refits if refit.row.number == row.number), None)

    def to_json(self) -> list[dict[str, Any]]:
        """The finalists for result.json, best mean first."""
        found = {
            refit.row.number: {
                "number": refit.row.number,
                "name": refit.row.name,
                "mean": refit.mean,
                **_interval(refit.scores),
                "probability": probability,
                "parameters": refit.parameters,
                "scores": list(refit.scores),
            }
            for refit, probability in zip(self.refits, self.probabilities, strict=True)
        }
        return [found[refit.row.number] for refit in self._by_mean()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Refitted:
    """What came of training the best trials again."""

    final: Final | None = None
    """None: it was not asked for, or not possible, or shows nothing."""
    mark: str = ""
    """What a reader has to know of it."""
    seconds: float = 0.0
    """Spent in training them, over all."""
    prefix: Mapping[str, float] = field(default_factory=dict)
    """What they asked of frozen blocks, as `TrialRow.prefix`, over all."""


def expected_seconds(rows: Sequence[TrialRow], *, folds: int, share: float, workers: int) -> float:
    """Wall time of training finalists again, by what they took.

    Args:
        rows: the finalists.
        folds: trainings of each that are still to come for one that it has had.
        share: images of such a training over those of the one it has had.
        workers: side by side.
    """
    each = [row.seconds * folds * share for row in rows]
    return max(sum(each) / workers, max(each, default=0.0))


def read_refits(
    run: RunDir,
    rows: Sequence[TrialRow],
    again: Sequence[TrialRow],
    data: Dataset,
    objective: Objective,
    *,
    folds: int,
) -> list[Refit]:
    """What training the finalists again has brought; those that are not finished are left out.

    Args:
        run: its folder.
        rows: the finalists.
        again: the trials of the study of refits; `trial` among their parameters says whose.
        data: of the folds.
        objective: whose score it is.
        folds: how many there are.
    """
    from xfer.cross_validate import read_out_of_fold
    from xfer.models.described import describe

    done = {row.params["trial"]: row.number for row in again if row.state == "complete"}
    found = []
    for row in rows:
        if row.number not in done:
            continue
        answers = read_out_of_fold(run.refit_checkpoints / str(done[row.number]), folds)
        cost = describe(
            from_json(row.recipe),
            classes=len(data.classes),
            size=data.images.size,
            channels=data.images.channels,
        )
        found.append(
            Refit(
                row=row,
                answers=answers,
                scores=answers.scores,
                parameters=cost.trainable,
                eligible=is_better_than_constant(
                    data, objective, answers.logits, answers.labels, answers.rows
                ),
            )
        )
    return found


def refit_name(row: TrialRow) -> str:
    """What a trial that is trained again is called in the study of refits."""
    return f"{_TRIAL}{row.number}"


def shown_as_trial(what: Shown, again: Sequence[TrialRow]) -> Shown:
    """An event or a row of the study of refits, with the number of the trial that is meant.

    Args:
        what: of that study.
        again: its trials, by number.
    """
    trial = int(str(again[what.number].name).removeprefix(_TRIAL))
    named = {} if isinstance(what, EpochDone | TrialEnded) else {"name": "again"}
    return replace(what, number=trial, **named)


def judge(
    run: RunDir,
    rows: Sequence[TrialRow],
    again: Sequence[TrialRow],
    data: Dataset,
    objective: Objective,
    *,
    folds: int,
) -> Refitted:
    """What the study of refits says, and what has to be said of it.

    Args:
        run: its folder.
        rows: the finalists.
        again: the trials of that study.
        data: of the folds.
        objective: whose score it is.
        folds: how many there are.
    """
    names = {refit_name(row) for row in rows}
    broken = [row for row in again if row.name in names and row.state != "complete"]
    if any(row.state == "waiting" for row in broken):
        return Refitted(
            mark="Time was up before the best trials were trained again on all folds: the winner "
            "was chosen on validation. --resume with more --minutes goes on."
        )
    marks = [
        f"{str(row.name).capitalize()} could not be trained again: {row.ended}." for row in broken
    ]
    refits = read_refits(run, rows, again, data, objective, folds=folds)
    final = decide(refits, data, objective) if refits else None
    if final is None and refits:
        marks.append(
            "Trained again on folds, none of the best trials is shown to be better than the same "
            "answer for every image: do not use this model."
        )
    marks += [] if final is None else final.passed_over()
    seconds, prefix = sum(row.seconds for row in again), summed(row.prefix for row in again)
    return Refitted(final=final, mark=" ".join(marks), seconds=seconds, prefix=prefix)


def decide(refits: Sequence[Refit], data: Dataset, objective: Objective) -> Final | None:
    """The finalist with the best mean, or a simpler one within the margin.

    Args:
        refits: of the finalists, as `Final` holds them.
        data: of the folds.
        objective: whose score it is.

    Returns:
        None where none is shown to be better, out of fold, than the same answer for every image.
    """
    import numpy as np

    from xfer.evaluate.answers import ranked as as_ranked
    from xfer.evaluate.selection import choose, probability_best
    from xfer.steps import strata

    may = [refit for refit in refits if refit.eligible]
    if not may:
        return None
    answers = np.stack([as_ranked(objective, refit.answers.logits) for refit in refits])
    labels, rows = refits[0].answers.labels, refits[0].answers.rows
    probabilities = probability_best(
        answers if data.positive is None else answers[:, :, 1],
        labels,
        whose(data, labels, rows),
        objective,
        seed=_SEED,
        draws=1_000 if data.positive is not None else 100,  # each class anew: slower
        subgroups=strata(objective, data, rows),
        parts=_parts(refits[0].answers),
    )
    place = choose([r.mean for r in may], [r.parameters for r in may], margin=MARGIN)
    return Final(
        refits=tuple(refits),
        chosen=may[place],
        probabilities=tuple(probabilities.tolist()),
    )


def _parts(answers: OutOfFold) -> list[Any]:
    """Positions of each fold's images among the answers."""
    import numpy as np

    ends = np.cumsum(answers.sizes)
    return [np.arange(end - size, end) for end, size in zip(ends, answers.sizes, strict=True)]


def _interval(scores: Sequence[float]) -> dict[str, float]:
    """95 % interval of the mean over folds, whose trainings share most of their images.

    Nadeau and Bengio, Inference for the generalization error, Machine Learning 52, 2003: variance
    (1 / folds + tested / trained) s², by Student's t. A part of what a fold does not test chooses
    the epoch and is not trained on.
    """
    import numpy as np
    from scipy.stats import t

    from xfer.data.folds import STOP_SHARE

    folds = len(scores)
    ratio = 1 / (folds - 1) / (1 - 1 / STOP_SHARE)
    variance = (1 / folds + ratio) * float(np.var(scores, ddof=1))
    half = float(t.ppf(0.975, folds - 1)) * variance**0.5
    mean = float(np.mean(scores))
    return {"low": mean - half, "high": min(mean + half, 1.0)}
