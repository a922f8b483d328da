"""What will the search that is asked for need here? The forecast of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from search.check.inspection import Inspection
from search.forecast import Forecast, Need, Work, forecast, measure_speed
from search.plan import Plan

if TYPE_CHECKING:
    from search.workers import Slots


def foresee(plan: Plan, inspection: Inspection, slots: Slots) -> Forecast:
    """Time, memory and disk, from the sample recipes and a second of measurement.

    Args:
        plan: what is asked for.
        inspection: of it; without problems.
        slots: room for trials.
    """
    from xfer.data.folds import STOP_SHARE
    from xfer.models.assembly import describe
    from xfer.store import default_root

    splits = inspection.splits
    if splits is None:
        raise ValueError("foresee needs an inspection without problems")
    size, channels = plan.data.size, plan.data.channels
    source = inspection.source
    several = source is not None and source.positive is None
    classes = len(source.classes) if source is not None and several else 2
    works = []
    for sample in inspection.checked.samples:
        cost = describe(sample.recipe, classes=classes, size=size, channels=channels)
        works.append(
            Work(
                prefix=cost.prefix_madds,
                suffix=cost.suffix_madds,
                epochs=sample.recipe.epochs or plan.budget.epochs,
                views=sample.recipe.augment.views,
                weight_bytes=4 * cost.parameters,
            )
        )
    train, val = len(splits.train), len(splits.val)
    folds = inspection.folds
    if folds is not None:
        train, val = (sum(len(part) for part in parts) // len(folds) for parts in
                      ([fold.train for fold in folds], [fold.stop for fold in folds]))  # fmt: skip
    both = len(splits.train) + len(splits.val)
    images = both + len(splits.test)
    rows = images * len(inspection.checked.interpolations)
    heaviest = max(work.weight_bytes for work in works)
    return forecast(
        works,
        trials=plan.budget.trials,
        train_images=train,
        val_images=val,
        folds=1 if folds is None else len(folds),
        again=min(plan.refits + (1 if plan.known else 0), plan.budget.trials) if plan.refits else 0,
        again_folds=plan.refit_folds,
        again_images=int(both * (1 - 1 / plan.refit_folds) * (1 - 1 / STOP_SHARE)),
        speed=measure_speed(threads=slots.threads, device=slots.device),
        workers=slots.workers,
        minutes=plan.budget.minutes,
        needs=(
            Need(path=default_root(), bytes=rows * size * size * channels, what="decoded images"),
            Need(
                # The last epoch's weights and two moments of Adam, and the best epoch's weights,
                # of the trials that are kept and those that run.
                path=Path(plan.options.out).absolute(),
                bytes=4 * heaviest * (plan.options.keep + slots.workers + 1),
                what="checkpoints",
            ),
        ),
    )
