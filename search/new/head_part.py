"""Which lines say what is there, what is maximised and for how long? All but `DATA` and `space`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from search.amounts import share
from search.new.choices import (
    IMAGES_A_MINUTE,
    MOST_MINUTES,
    RECALL_WEIGHT,
    START_MINUTES,
    TARGETS,
    TRIALS,
    Choices,
    Machine,
    Target,
    may_miss,
)
from search.new.lines import comment, inside, literal, paragraph, shown
from search.new.seen import Seen
from xfer.recipe import Table

_MOST_ROWS = 30
"""Classes that are listed in the docstring."""
_WIDEST = 50
"""Characters of a class's name there."""


def docstring_lines(seen: Seen, choices: Choices, file: Path) -> Iterator[str]:
    """What the space is for, the command that runs it, and what was seen."""
    source, sizes = seen.source, seen.sizes
    if seen.positive is None:
        yield f'"""Which of {len(source.classes)} classes is an image of?'
    else:
        yield f'"""Which of these images are {inside(literal(shown(seen.positive)))}?'
    yield ""
    yield f"    python -m search.check {inside(shown(str(file)))}"
    yield f"    python -m search.run {inside(shown(str(file)))}"
    yield ""
    place = seen.place.file if isinstance(seen.place, Table) else seen.place
    count = f"{len(source.items):,} images"
    yield from paragraph(f"Begun by search.new after a look at {shown(place)}, which has {count}:")
    yield ""
    yield from map(inside, _counts(seen))
    yield ""
    gray = "gray" if choices.channels == 1 else "in colour"
    if 0 < sizes.gray < sizes.looked:
        gray = f"{sizes.gray} of them gray"
    one = " x ".join(map(str, sizes.least))
    two = " x ".join(map(str, sizes.largest))
    size = f"all {one} pixels" if one == two else f"{one} to {two} pixels"
    parts = "Parts are cut by the search: a fifth to test, a fifth of the rest to validate."
    if "all" not in seen.counts:
        missing = [part for part in ("val", "test") if part not in seen.counts]
        cut = f"; {' and '.join(missing)} will be cut from train" if missing else ""
        parts = f"The images come in these parts{cut}."
    yield from paragraph(f"{sizes.looked} of them were looked at: {size}, {gray}. {parts}")
    yield '"""'


def _counts(seen: Seen) -> Iterator[str]:
    """A table with a line for each class."""
    classes = [_short(shown(name)) for name in seen.source.classes[:_MOST_ROWS]]
    width = max(map(len, classes))
    columns = {part: max(len(part), 7) for part in seen.counts}
    heads = "".join(f"{part:>{w + 2}}" for part, w in columns.items())
    yield f"    {'':<{width}}{heads}".rstrip()
    for label, name in enumerate(classes):
        cells = "".join(f"{seen.counts[p][label]:>{w + 2},}" for p, w in columns.items())
        yield f"    {name:<{width}}{cells}"
    if (more := len(seen.source.classes) - _MOST_ROWS) > 0:
        yield f"    and {more} more"


def _short(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 3]}..."


def objective_lines(seen: Seen, choices: Choices) -> Iterator[str]:
    """`OBJECTIVE`."""
    if seen.positive is None:
        yield from comment(
            "What a good answer is: the share of each class's images that are recognised, averaged"
            " over the classes, so that a rare class counts as much as a frequent one."
        )
        yield 'OBJECTIVE = Objective("balanced_accuracy")'
        return
    from xfer.evaluate.objectives import cost_ratio

    ratio = cost_ratio(RECALL_WEIGHT, choices.counts[1] / sum(choices.counts))
    worth = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
    name = shown(seen.positive)
    yield from comment(
        "What a good answer is. recall is the share of the images of"
        f" {name} that are found, specificity the share of all others that are left in peace; the"
        f" score is {share(RECALL_WEIGHT)} of the one and {share(1 - RECALL_WEIGHT)} of the other."
        f" With as many images of each as there are here, a miss counts as much as {worth} false"
        " alarms. A larger weight: fewer misses, more false alarms."
    )
    of_whom = "patients" if seen.told or seen.patients is not None else "images"
    aim = choices.target
    if aim is None:
        yield from comment(
            f"The threshold is the one with the best score: too few {of_whom} of {name} are there"
            f" to vouch for a recall, even for {share(TARGETS[-1])}."
        )
        yield f'OBJECTIVE = Objective("recall_weighted", recall_weight={RECALL_WEIGHT})'
        return
    more = (
        "" if aim.recall == TARGETS[0] else " More of them would allow more, up to the usual .95."
    )
    yield from comment(
        "TargetRecall: the model gets the highest threshold that finds this share of them, with"
        f" 95 % confidence. It is chosen on about {aim.positives:,} {of_whom} of {name}, which can"
        f" vouch for {share(aim.recall)} as long as no more than {aim.missed} of them are"
        f" missed.{_without_refits(aim)}{more}"
    )
    yield "OBJECTIVE = Objective("
    yield '    "recall_weighted",'
    yield f"    recall_weight={RECALL_WEIGHT},"
    yield f"    threshold=TargetRecall({aim.recall:g}),"
    yield ")"


def _without_refits(aim: Target) -> str:
    """What a shorter search comes to; empty where it makes no difference."""
    if aim.alone >= aim.positives:
        return ""
    missed = may_miss(aim.recall, aim.alone)
    if missed < 0:
        few = f"the {aim.alone} of validation are too few to vouch for it"
    elif missed == 0:
        few = f"all {aim.alone} of validation have to be found for it, at the price of false alarms"
    else:
        few = f"no more than {missed} of the {aim.alone} of validation may be missed"
    return (
        " For that the best trials are trained again; in a search of too few minutes for it,"
        f" {few}."
    )


def budget_lines(seen: Seen, choices: Choices, machine: Machine) -> Iterator[str]:
    """`BUDGET`."""
    cores = f"{machine.cores} core{'' if machine.cores == 1 else 's'}"
    what = f"{cores} and {machine.gpus} GPU" if machine.gpus else cores
    yield from comment(
        f"The search ends at whichever comes first. Minutes: {START_MINUTES}, and one for every"
        f" {IMAGES_A_MINUTE} images and core, at most {MOST_MINUTES} (here: {what}). A trial is"
        " one configuration, trained for so many epochs, each of which sees all training images;"
        " poor trials are stopped early."
    )
    yield f"BUDGET = Budget(minutes={choices.minutes}, trials={TRIALS}, epochs={choices.epochs})"
