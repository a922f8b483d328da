"""How does a plan get its images? Decoded once per machine, split, and cut into folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.plan import SPLIT_SEED, Plan

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset, Loading
    from xfer.data.folds import Fold


def load_images(plan: Plan, interpolations: Sequence[str]) -> tuple[Dataset, Loading]:
    """The images as the space's models need them; a bar shows how far decoding is.

    Args:
        plan: what is asked for.
        interpolations: as `load_dataset` takes them.

    Raises:
        DataError: too many of them are damaged, or a part would be without a class.
        StoreError: no room for the decoded images.
    """
    from search.screen import decoding
    from xfer.data.dataset import load_dataset
    from xfer.store import Store, default_root

    gigabytes = plan.options.cache_gb
    budget = None if gigabytes is None else int(gigabytes * 1e9)
    with decoding() as progress:
        return load_dataset(
            plan.data,
            store=Store(default_root(), budget_bytes=budget),
            seed=SPLIT_SEED,
            progress=progress,
            interpolations=interpolations,
            given=plan.options.given_parts,
            least=plan.least_in_val,
        )


def drawn_said(plan: Plan) -> str | None:
    """What has to stand beside every result of images that were drawn; a demo says it itself."""
    from xfer.data.builtin import is_drawn

    place = plan.data.place
    if plan.demo or not is_drawn(place):
        return None
    return f"SYNTHETIC IMAGES: {place} are drawn, and nothing here is about real ones."


def cut(plan: Plan, data: Dataset, loading: Loading) -> tuple[Fold, ...] | None:
    """The folds that every trial is scored on, of all but the test part; None: there are none.

    Args:
        plan: what is asked for.
        data: as it was loaded.
        loading: of it; copies stay on one side.

    Raises:
        DataError: a fold would be without a class.
    """
    folds = plan.options.folds
    return None if folds is None else _cut(data, loading, folds)


def cut_for_refits(
    plan: Plan, data: Dataset, loading: Loading
) -> tuple[tuple[Fold, ...] | None, str]:
    """The folds that the best trials are trained again on, the same where trials have some.

    Args:
        plan: what is asked for.
        data: as it was loaded.
        loading: of it; copies stay on one side.

    Returns:
        None where they are not asked for, or cannot be cut and nobody asked by name; and why.

    Raises:
        DataError: --refits was given, and a fold would be without a class.
    """
    from xfer.errors import DataError

    if not plan.refits:
        return None, ""
    try:
        return _cut(data, loading, plan.refit_folds), ""
    except DataError as error:
        if plan.options.refits is not None:
            raise
        return None, f"The best trials are not trained again: {error}"


def _cut(data: Dataset, loading: Loading, folds: int) -> tuple[Fold, ...]:
    import numpy as np

    from xfer.data.folds import cut_folds

    return cut_folds(
        np.concatenate([data.splits["train"], data.splits["val"]]),
        labels=data.labels,
        patients=data.patients,
        folds=folds,
        seed=SPLIT_SEED,
        same=loading.copies.same,
        classes=data.classes,
    )
