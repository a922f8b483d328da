"""Who is compared? Experiments by name, their trainings of several runs together, and winners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search.compare.finished_run import FinishedRun

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheet:
    """Test images, in the order of their digests."""

    images: tuple[str, ...]
    """(images,): digests."""
    labels: np.ndarray
    """int64 (images,): positions in the classes."""
    patients: np.ndarray
    """int64 (images,): whose, numbered from 0 in the order in which they come."""
    first: str
    """The run that it was read from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """One run's training of a configuration, and its answers."""

    run: FinishedRun
    probabilities: np.ndarray
    """float64 (images, classes), in the order of the sheet."""
    threshold: float | None
    """From which on an image counts as positive; None: the most probable class counts."""


@dataclass(kw_only=True, eq=False)
class Contender:
    """A row: one configuration, trained once or several times."""

    name: str
    """What the row is called."""
    winner: bool
    """It was found by a search, and decides at a threshold of its own."""
    sheet: Sheet | None
    """What it answered; None: no training was finished."""
    trainings: list[Training] = field(default_factory=list)
    """One per run."""
    unfinished: list[tuple[str, str]] = field(default_factory=list)
    """Runs in which it was not finished, and what became of it there."""
    trained: set[int] = field(default_factory=set)
    """Trained parameters; one number, where it is known."""
    seconds: list[float] = field(default_factory=list)
    """That training took, by run."""
    published: Mapping[str, Any] | None = None
    """As result.json has it."""
    differs: str = ""
    """What it does otherwise than the study's."""
    apart: tuple[str, ...] = ()
    """Why it is not one row with others of its name."""


def gather(runs: Sequence[FinishedRun]) -> tuple[list[Contender], list[str]]:
    """Rows in the order of the first run's known configurations, then winners; and problems.

    Trainings of one name are one row where all but the seed is the same, test images included.
    """
    sheets, problems = _sheets(runs)
    found: dict[str, list[tuple[dict[str, Any], Contender]]] = {}
    for run in runs:
        sheet, order = sheets[id(run)]
        for experiment in run.experiments or ():
            name = experiment["name"]
            setting = {"test images": sheet.images} | run.setting(experiment)
            row = next((row for its, row in found.get(name, ()) if _same(its, setting)), None)
            if row is None:
                row = Contender(name=name, winner=False, sheet=sheet)
                found.setdefault(name, []).append((setting, row))
            _add(row, run, experiment, order)
    rows = []
    for name, alike in found.items():
        for setting, row in alike:
            if len(alike) > 1:
                others = [other for other, _ in alike if other is not setting]
                row.apart = tuple(k for k in setting if any(o[k] != setting[k] for o in others))
                row.name = f"{name} of {_of(row)}"
            problems += _same_seed(row)
            if not row.trainings:
                row.sheet = None
            rows.append(row)
    rows += [_winner(run, *sheets[id(run)]) for run in runs if run.experiments is None]
    return rows, problems


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether all that is known of both is the same; one that was never begun has no recipe."""
    return all(
        value == other[key] or (key == "recipe" and None in (value, other[key]))
        for key, value in one.items()
    )


def _of(row: Contender) -> str:
    runs = [each.run.label for each in row.trainings] or [run for run, _ in row.unfinished]
    return ", ".join(runs)


def _add(
    row: Contender, run: FinishedRun, experiment: Mapping[str, Any], order: np.ndarray
) -> None:
    name = experiment["name"]
    row.published = row.published or experiment["published"]
    row.differs = row.differs or experiment["differs"]
    if experiment["trained"] is not None:
        row.trained.add(experiment["trained"])
    if experiment["test"] is None:
        why = experiment["untested"] or f"{experiment['state']}: {experiment['ended']}"
        row.unfinished.append((run.label, why.rstrip(".")))
        return
    row.seconds.append(experiment["seconds"])
    row.trainings.append(_training(run, run.tested.names.index(name, 1), order))


def _winner(run: FinishedRun, sheet: Sheet, order: np.ndarray) -> Contender:
    number = int(run.tested.numbers[0])
    finalists = run.result.get("finalists") or ()
    return Contender(
        name=f"winner of {run.label}",
        winner=True,
        sheet=sheet,
        trainings=[_training(run, 0, order)],
        trained={each["parameters"] for each in finalists if each["number"] == number},
        seconds=[row.seconds for row in run.trials if row.number == number],
    )


def _training(run: FinishedRun, place: int, order: np.ndarray) -> Training:
    tested = run.tested
    threshold = float(tested.thresholds[place]) if tested.binary else None
    return Training(run=run, probabilities=tested.probabilities[place][order], threshold=threshold)


def _same_seed(row: Contender) -> Iterable[str]:
    by_seed: dict[int, str] = {}
    for each in row.trainings:
        other = by_seed.setdefault(each.run.seed, each.run.label)
        if other != each.run.label:
            yield (
                f"{row.name!r} of {other} and of {each.run.label} are one training, with seed "
                f"{each.run.seed}; leave one run out, or train it with another --seed"
            )


def _sheets(
    runs: Sequence[FinishedRun],
) -> tuple[dict[int, tuple[Sheet, np.ndarray]], list[str]]:
    """By `id` of a run its sheet, one for all of the same images, and how to order its answers."""
    import numpy as np

    known: dict[tuple[str, ...], Sheet] = {}
    found, problems = {}, []
    for run in runs:
        tested = run.tested
        keys = zip(tested.images, tested.labels.tolist(), tested.patients, strict=True)
        order = np.array([i for i, _ in sorted(enumerate(keys), key=lambda pair: pair[1])])
        images = tuple(tested.images[i] for i in order)
        patients: dict[str, int] = {}
        for i in order:
            patients.setdefault(tested.patients[i], len(patients))
        own = Sheet(
            images=images,
            labels=tested.labels[order],
            patients=np.array([patients[tested.patients[i]] for i in order]),
            first=run.label,
        )
        sheet = known.setdefault(images, own)
        others = int((sheet.labels != own.labels).sum())
        if others:
            problems.append(
                f"{run.label} and {sheet.first} have the same test images, and other classes for "
                f"{others} of them; compare runs of the same labels"
            )
        elif not np.array_equal(sheet.patients, own.patients):
            problems.append(
                f"{run.label} and {sheet.first} have the same test images, and other patients for "
                "them; run both with the same Images.patient"
            )
        found[id(run)] = sheet, order
    return found, problems
