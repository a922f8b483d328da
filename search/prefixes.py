"""What of their backbones do the trials of a space leave frozen? All of it is made in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from search.plan import Plan
from xfer.recipe import Pretrained, Recipe

if TYPE_CHECKING:
    from xfer.features import Asked, FeatureStore


def feature_store(plan: Plan, samples: Iterable[Recipe]) -> FeatureStore:
    """Where trials keep what frozen blocks make of the images, and what the space can ask for.

    Args:
        plan: what is asked for.
        samples: recipes drawn from the space. What they do not lead to expect is made when a trial
            asks for it.
    """
    from xfer.features import FeatureStore
    from xfer.store import default_root

    gigabytes = plan.options.cache_gb
    return FeatureStore(
        root=default_root(),
        budget_bytes=None if gigabytes is None else int(gigabytes * 1e9),
        asked=frozenset(_asked(list(samples), size=plan.data.size, channels=plan.data.channels)),
    )


def _asked(samples: list[Recipe], *, size: int, channels: int) -> Iterator[Asked]:
    """Every backbone with every depth, pool and first phase that was drawn for any of them.

    A few dozen samples have all of these, and by far not all of their combinations.
    """
    from xfer.features import Asked
    from xfer.models.table import TABLE
    from xfer.prefix import cuts_of

    recipes = [(r, r.model) for r in samples if isinstance(r.model, Pretrained)]
    depths = {model.unfreeze_depth for _, model in recipes if model.train is None}
    pools = {recipe.head.pool for recipe, _ in recipes}
    for recipe, model in {(m.name, m.cut_after, m.train): (r, m) for r, m in recipes}.values():
        own = depths if model.train is None else {0}
        fitting = pools if TABLE[model.name].tokens else pools - {"token"}
        for depth, pool in product(own, fitting):
            changed = replace(model, unfreeze_depth=depth)
            phases = {r.head_first for r, _ in recipes} if depth or model.train else {None}
            for first in phases:
                head = replace(recipe.head, pool=pool)
                whole = replace(recipe, model=changed, head=head, head_first=first, epochs=None)
                for cut in cuts_of(whole, size=size, channels=channels):
                    yield Asked(backbone=model.name, cut_after=model.cut_after, cut=cut)
