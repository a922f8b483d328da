"""What has to be known to read the table? A sentence each, with the rows that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.compare.comparison import Comparison, Line
from search.compare.finished_run import FinishedRun
from search.compare.table import metric_name

MOST_NAMES = 6
"""Rows that a note lists by name; of more it says how many."""


def notes(comparison: Comparison, runs: Sequence[FinishedRun]) -> list[str]:
    """The notes, the most important first."""
    lines = comparison.lines
    return [
        *_demo(runs),
        *_measured(comparison, runs),
        *_differences(comparison),
        *_trainings(lines),
        *_not_paired(comparison),
        *_reported(comparison),
        *_unfinished(lines),
        *_split(lines),
        *_opened(runs),
        *_differs(lines),
    ]


def _demo(runs: Sequence[FinishedRun]) -> Iterable[str]:
    demos = [run.label for run in runs if run.demo]
    if demos:
        yield f"DEMO, SYNTHETIC IMAGES: {', '.join(demos)} show nothing about the world."


def _measured(comparison: Comparison, runs: Sequence[FinishedRun]) -> Iterable[str]:
    shown = [line for line in comparison.lines if line.value is not None]
    sheets = {id(line.contender.sheet): line.contender.sheet for line in shown}
    counts = [
        f"{len(sheet.images):,} test images of {int(sheet.patients.max()) + 1:,} patients"
        for sheet in sheets.values()
        if sheet is not None
    ]
    name = metric_name(comparison.metric)
    yield (
        f"{name[0].upper()}{name[1:]} is the mean over n trainings; its interval "
        f"is of 95 %, by patient: {'; '.join(counts)}."
    )
    if comparison.metric == "auroc":
        if not runs[0].tested.binary:
            yield "AUROC is the mean of each class against the rest."
        return
    if not runs[0].tested.binary:
        yield "The most probable class is the answer."
        return
    if any(not line.contender.winner for line in shown):
        yield "Experiments answer with the more probable class (.5), as the studies did."
    for line in shown:
        if line.contender.winner:
            threshold = line.contender.trainings[0].threshold
            yield (
                f"The {line.contender.name} decides at the threshold it ships with, "
                f"{threshold:.4g} on calibrated probabilities: another rule than .5."
            )


def _differences(comparison: Comparison) -> Iterable[str]:
    told = sum(line.difference is not None for line in comparison.lines)
    if not told:
        return
    reference = comparison.reference.name
    if told == 1:
        yield f"The difference is less {reference}, with an interval of 95 %."
    else:
        yield (
            f"Differences are less {reference}. {told} of them are told at once, so each interval "
            f"is of {100 * comparison.confidence:.4g} % (Bonferroni): chances are at least 95 % "
            "that all of them hold."
        )
    yield (
        "These are test images: who chooses a row by this table needs new ones to say how good "
        "it is."
    )


def _trainings(lines: Sequence[Line]) -> Iterable[str]:
    shown = [line for line in lines if line.value is not None]
    once = [line for line in shown if len(line.contender.trainings) == 1]
    often = [line for line in shown if len(line.contender.trainings) > 1]
    if once:
        whose = "n = 1" if not often else f"n = 1 ({_names(once)})"
        yield (
            f"{whose}: one training is not a configuration. What another seed would change is not "
            "in the interval, nor in a verdict."
        )
    if often:
        fewest = min(len(line.contender.trainings) for line in often)
        seeds = sorted({each.run.seed for line in often for each in line.contender.trainings})
        few = f"; {fewest} trainings know little of it" if fewest < 5 else ""
        yield (
            f"The spread between trainings (seeds {', '.join(map(str, seeds))}) is in the "
            f"intervals{few}."
        )


def _not_paired(comparison: Comparison) -> Iterable[str]:
    told = [line for line in comparison.lines if line.difference is not None]
    other = [line for line in told if not line.paired]
    if other:
        yield (
            f"{_names(other)}: other test images than those of {comparison.reference.name}, so "
            "the difference is not paired."
        )
    if len(other) < len(told):
        yield (
            f"{'Other' if other else 'All'} differences are paired: both rows answered the same "
            "images."
        )


def _reported(comparison: Comparison) -> Iterable[str]:
    with_reported = [line for line in comparison.lines if line.reported is not None]
    if not with_reported:
        return
    yield (
        "Published: the study's own number, of other images and trainings, so there is no verdict;"
        " Wilson's 95 % interval where it gave a matrix, and a difference only then."
    )


def _unfinished(lines: Sequence[Line]) -> Iterable[str]:
    for line in lines:
        by_end: dict[str, list[str]] = {}
        for run, ended in line.contender.unfinished:
            by_end.setdefault(ended, []).append(run)
        for ended, runs in by_end.items():
            yield f"{line.contender.name} has no answers in {', '.join(runs)} ({ended})."


def _split(lines: Sequence[Line]) -> Iterable[str]:
    by_reason: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if line.contender.apart:
            by_reason.setdefault(line.contender.apart, []).append(line)
    for reasons, alike in by_reason.items():
        yield f"{_names(alike)} are rows of their own: they differ in {', '.join(reasons)}."


def _opened(runs: Sequence[FinishedRun]) -> Iterable[str]:
    for run in runs:
        times = int(run.result.get("opened") or 0)
        if times > 1:
            yield f"{run.label}: its test part was opened {times} times."


def _differs(lines: Sequence[Line]) -> Iterable[str]:
    by_text: dict[str, list[Line]] = {}
    for line in lines:
        if line.contender.differs:
            by_text.setdefault(line.contender.differs, []).append(line)
    for text, alike in by_text.items():
        names = ", ".join(line.contender.name for line in alike)
        yield f"Otherwise than the study's ({names}): {text.rstrip('.')}."


def _names(lines: Sequence[Line]) -> str:
    if len(lines) > MOST_NAMES:
        return f"{len(lines)} rows"
    return ", ".join(line.contender.name for line in lines)
