"""How good is each known configuration? With --known-only they are experiments: all are tested.

In the same opening of the test part as the winner, which is chosen before, on validation; no number
from here chooses anything. As studies do it, the most probable class of the raw softmax is the
answer, with a positive class from .5 on: neither calibration nor a threshold is in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.errors import TrialsError
from search.plan import Plan
from search.rundir import RunDir
from search.scores import Measured, measured
from search.space import Published, Reported
from search.tested import WINNER, Tested, write_tested
from search.trials import TrialRow
from xfer.chunks import blake2b
from xfer.errors import XferError
from xfer.recipe import from_json

if TYPE_CHECKING:
    import numpy as np

    from xfer.data.dataset import Dataset

SHARES = ("accuracy", "precision", "recall")
"""Metrics that studies report."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """A known configuration that was trained, and what it answers on the test part."""

    row: TrialRow
    """Its trial."""
    probabilities: np.ndarray | None
    """float64 (images, classes): the softmax of its best epoch; None: it has none."""
    why: str = ""
    """Why it has none, in words."""


def answer_known(run: RunDir, rows: Sequence[TrialRow], data: Dataset) -> Iterator[Answered]:
    """Every finished known configuration, by number. One that cannot answer says why.

    Args:
        run: with the trials' checkpoints.
        rows: every trial.
        data: with its test part, and with pixels for every model of the space.
    """
    import numpy as np

    from xfer.checkpoint import restore_best
    from xfer.logits import predict_logits
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device

    device = pick_device()
    for row in sorted(rows, key=lambda row: row.number):
        if row.name is None or row.state != "complete":
            continue
        pixels = data.interpolated(interpolation_of(from_json(row.recipe).model)).pixels
        try:
            net = restore_best(run.checkpoint(row.number), device=device)
        except XferError as error:  # one of many: the others still have a result
            yield Answered(row=row, probabilities=None, why=f"its model cannot be read: {error}")
            continue
        logits = predict_logits(net, pixels, data.splits["test"], device=device).numpy()
        if not np.isfinite(logits).all():
            yield Answered(row=row, probabilities=None, why="its answers are not numbers")
            continue
        exact = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield Answered(row=row, probabilities=exact / exact.sum(axis=1, keepdims=True))


def keep_and_score(
    run: RunDir,
    winner: TrialRow,
    answers: Measured,
    known: Iterable[Answered],
    data: Dataset,
    *,
    threshold: float | None,
) -> dict[str, Any]:
    """Writes what was answered on the test part, and scores the known configurations.

    Patients are written as digests: enough to see whose images belong together.

    Args:
        run: its `tested` is written.
        winner: the trial that ships.
        answers: its metrics on the test part.
        known: configurations that are experiments; none where they are not.
        data: with its test part.
        threshold: that ships; None with several classes.

    Returns:
        By number of a trial, metrics as `search.scores.measured` gives them, or why there are none:
        `{"untested": why}`.
    """
    import numpy as np

    rows = data.splits["test"]
    labels, patients = data.labels[rows], [data.patients[i] for i in rows]
    known = list(known)
    found = [(one.row, one.probabilities) for one in known if one.probabilities is not None]
    half = None if threshold is None else 0.5
    thresholds = [threshold, *(half for _ in found)]
    write_tested(
        run.tested,
        Tested(
            names=(WINNER, *(str(row.name) for row, _ in found)),
            numbers=np.array([winner.number, *(row.number for row, _ in found)], np.int64),
            thresholds=np.array([np.nan if at is None else at for at in thresholds]),
            probabilities=np.stack([answers.probabilities, *(each for _, each in found)]),
            labels=labels,
            images=tuple(data.image_digests[i] for i in rows),
            patients=tuple(blake2b(whose.encode()) for whose in patients),
            classes=data.classes,
        ),
    )
    scored: dict[str, Any] = {
        str(one.row.number): {"untested": one.why} for one in known if one.probabilities is None
    }
    for row, each in found:
        scored[str(row.number)] = measured(
            each, labels, patients, data.classes, threshold=half
        ).metrics
    return scored


def refuse_unfinished(rows: Sequence[TrialRow], plan: Plan, *, name: str) -> None:
    """Keeps the test part closed while an experiment waits: all are tested in one opening.

    Args:
        rows: every trial.
        plan: what was asked for.
        name: of the run.

    Raises:
        TrialsError: some are not finished.
    """
    left = [row.name for row in rows if row.name and row.state in ("waiting", "running")]
    if left:
        raise TrialsError(
            f"{len(left)} of {len(plan.known)} known configurations were not finished in time "
            f"({', '.join(left)}), and all are tested together: the test part stays closed. Go on "
            f"with {plan.options.resume_command(name)} --minutes and a larger number."
        )


def experiments_told(
    plan: Plan,
    rows: Sequence[TrialRow],
    tests: Mapping[str, Any],
    *,
    trained: Callable[[Mapping[str, Any]], int],
) -> list[dict[str, Any]] | None:
    """`experiments` of result.json, in the order of KNOWN; None where there are none.

    Args:
        plan: what was asked for.
        rows: every trial.
        tests: as `keep_and_score` gives them; empty while the test part is closed.
        trained: counts the trained parameters of a recipe.
    """
    if not plan.options.known_only:
        return None
    by_name = {row.name: row for row in rows if row.name is not None}
    found = []
    for name in plan.known:
        row = by_name.get(name)
        test = None if row is None else tests.get(str(row.number))
        untested = None if test is None else test.get("untested")
        published = plan.published.get(name)
        found.append(
            {
                "number": None if row is None else row.number,
                "name": name,
                "state": "waiting" if row is None else row.state,
                "ended": "" if row is None else row.ended,
                "trained": None if row is None or not row.recipe else trained(row.recipe),
                "epochs": 0 if row is None else len(row.scores),
                "seconds": 0.0 if row is None else row.seconds,
                "search_score": None if row is None else row.value,
                "recipe": None if row is None or not row.recipe else digest_of(row.recipe),
                "test": test if untested is None else None,
                "untested": untested,
                "published": None if published is None else published_told(published),
                "differs": "" if published is None else published.differs,
            }
        )
    return found


def digest_of(recipe: Mapping[str, Any]) -> str:
    """The same for the same recipe: what is told of two runs' trainings of it may be averaged."""
    return blake2b(json.dumps(recipe, sort_keys=True).encode())


def published_told(published: Published) -> dict[str, Any]:
    """What a study reported, as JSON: with Wilson's 95 % interval where it gave a matrix.

    >>> told = published_told(Published(matrix=((45, 5), (2, 48))))
    >>> told["recall"]["value"], round(told["recall"]["low"], 2)
    (0.96, 0.87)
    >>> published_told(Published(accuracy=(0.6, 0.7)))["accuracy"]
    {'from': 0.6, 'to': 0.7}
    """
    if published.matrix is None:
        return {name: _reported(getattr(published, name)) for name in SHARES} | {"matrix": None}
    from xfer.evaluate.intervals import wilson

    (tn, fp), (fn, tp) = published.matrix
    counts = {
        "accuracy": (tn + tp, tn + fp + fn + tp),
        "precision": (tp, fp + tp),
        "recall": (tp, fn + tp),
    }
    told: dict[str, Any] = {}
    for name, (right, of) in counts.items():
        low, high = wilson(right, of)
        told[name] = {"value": right / of if of else None, "low": low, "high": high}
    return told | {"matrix": [[tn, fp], [fn, tp]]}


def _reported(value: Reported) -> dict[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        return {"from": value[0], "to": value[1]}
    return {"value": value, "low": None, "high": None}
