"""Can this space be searched on this data? The rules for spaces, held against real images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.check.checked import Checked, check
from search.plan import SPLIT_SEED, Plan
from xfer.errors import DataError

if TYPE_CHECKING:
    from xfer.data.folds import Fold
    from xfer.data.sources import Source
    from xfer.data.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A space and its data, looked at together."""

    checked: Checked
    """The space; its problems hold the data's too."""
    source: Source | None
    """The images, listed and not decoded; None: they cannot be used."""
    splits: Splits | None
    """Train, validation and test; None: they cannot be made."""
    folds: tuple[Fold, ...] | None
    """What trials are scored on, as far as names tell; None: they are not asked for, or cannot be
    cut."""


def inspect(plan: Plan) -> Inspection:
    """Lists the images, splits them, and checks the space against what is there.

    No image is read and no weights are fetched: of what has to leave a part, patients are known
    here, copies of pictures are not.
    """
    import numpy as np

    from xfer.data.folds import cut_folds
    from xfer.data.sources import open_source
    from xfer.data.splits import split_items

    source = splits = folds = None
    problems: tuple[str, ...] = ()
    try:
        source = open_source(plan.data, seed=SPLIT_SEED)
        splits = split_items(
            source.items,
            seed=SPLIT_SEED,
            positive=source.positive,
            classes=source.classes,
            given=plan.options.given_parts,
            least=plan.least_in_val,
            test_share=plan.data.test_share,
        )
        if plan.options.folds is not None:
            positive = source.positive
            folds = cut_folds(
                np.concatenate([splits.train, splits.val]),
                labels=[
                    i.label if positive is None else int(i.label == positive) for i in source.items
                ],
                patients=[item.patient for item in source.items],
                folds=plan.options.folds,
                seed=SPLIT_SEED,
                classes=source.classes if positive is None else ("the others", "positive"),
            )
        if plan.options.test_share is not None and (wrong := _uncut(plan, source)):
            problems = (wrong,)
    except DataError as error:
        problems = (str(error).removesuffix("."),)
    classes, prevalence = 2, None
    if source is not None:
        positive = source.positive
        if positive is None:
            classes = len(source.classes)
        else:
            prevalence = sum(i.label == positive for i in source.items) / len(source.items)
    checked = check(
        plan,
        classes=classes,
        train_images=_train_images(splits, folds),
        prevalence=prevalence,
    )
    notes = [*checked.notes, *(source.notes if source else ())]
    notes += [*splits.made, *splits.removed, *splits.marks] if splits else []
    checked = replace(checked, problems=problems + checked.problems, notes=tuple(notes))
    return Inspection(checked=checked, source=source, splits=splits, folds=folds)


def _uncut(plan: Plan, source: Source) -> str | None:
    """Why --test-share has nothing to cut; None where it has."""
    if plan.options.resplit or all(item.split != "test" for item in source.items):
        return None
    return (
        "--test-share is of a test part that is cut, and these images come with one: leave it out, "
        "or have all parts cut anew with --resplit"
    )


def _train_images(splits: Splits | None, folds: tuple[Fold, ...] | None) -> int | None:
    """The fewest images that any training of the search has; None: they cannot be split."""
    if splits is None:
        return None
    return min(len(rows) for rows in (splits.train, *(fold.train for fold in folds or ())))
