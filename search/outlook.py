"""What will the search that is asked for need here? The forecast of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.check.inspection import Inspection
from search.forecast import Forecast, Need, forecast
from search.plan import Plan
from search.rundir import RunDir
from search.works import describe_each, madds_of, works_of

if TYPE_CHECKING:
    from search.measuring import Measured
    from search.workers import Slots


def foresee(
    plan: Plan,
    inspection: Inspection,
    slots: Slots,
    *,
    run: RunDir | None = None,
    asked: bool = True,
    elsewhere: bool = False,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[Forecast, Measured]:
    """Time, memory and disk for what is left, from drawn recipes and some seconds of measurement.

    Args:
        plan: what is asked for.
        inspection: of it; without problems.
        slots: room for trials, by the rule or as it was asked for.
        run: that is resumed; None: a new one.
        asked: the number of workers was asked for; otherwise it is chosen by measuring.
        elsewhere: workers are on a cluster; measured are those of them that fit on this machine.
        recorded: `workers` and `speed` of the manifest of a run that goes on; None: a new one.
    """
    from search.measuring import measured, recalled
    from search.workers import own_share
    from xfer.data.folds import STOP_SHARE
    from xfer.epoch_answers import MOST_EPOCHS
    from xfer.speed import model_key
    from xfer.store import default_root

    splits = inspection.splits
    if splits is None:
        raise ValueError("foresee needs an inspection without problems")
    size, channels = plan.data.size, plan.data.channels
    source = inspection.source
    several = source is not None and source.positive is None
    classes = len(source.classes) if source is not None and several else 2
    shape = {"classes": classes, "size": size, "channels": channels}
    train, val = len(splits.train), len(splits.val)
    folds = inspection.folds
    if folds is not None:
        train, val = (sum(len(part) for part in parts) // len(folds) for parts in
                      ([fold.train for fold in folds], [fold.stop for fold in folds]))  # fmt: skip
    rounds = 1 if folds is None else len(folds)
    both = len(splits.train) + len(splits.val)
    recipes = inspection.checked.recipes
    described = describe_each(recipes, **shape)
    how: dict[str, Any] = {
        "epochs": plan.budget.epochs, "train_images": train, "val_images": val
    }  # fmt: skip
    each = [madds_of(one, its, **how) for one, its in zip(recipes, described, strict=True)]
    frozen = {
        (model_key(one.model), its.prefix_madds)
        for one, its in zip(recipes, described, strict=True)
    }
    own = own_share(slots) if elsewhere else slots
    look = None if recorded is None else recalled(slots, recorded)
    if look is None:
        look = measured(
            recipes,
            described,
            slots=own,
            asked=asked,
            madds=plan.budget.trials * rounds * sum(each) / len(each)
            + both * sum(prefix for _, prefix in frozen),
            shape=shape,
        )
        look = replace(look, slots=slots) if elsewhere else look
    again_images = int(both * (1 - 1 / plan.refit_folds) * (1 - 1 / STOP_SHARE))
    works = works_of(recipes, described, look.speed, again_images=again_images, stored=True, **how)
    rows = (both + len(splits.test)) * len(inspection.checked.interpolations)
    heaviest = max(work.weight_bytes for work in works)
    # All experiments stay until they are tested; of what is frozen a checkpoint has nothing.
    experiments = sum(16 * its.trainable for its in described) if plan.options.known_only else 0
    kept = min(max(work.epochs for work in works), MOST_EPOCHS)
    ahead = forecast(
        works,
        known=inspection.checked.known,
        trials=max(plan.budget.trials - (0 if run is None else _told(plan, run)), 0),
        train_images=train,
        folds=rounds,
        again=min(plan.refits + (1 if plan.known else 0), plan.budget.trials) if plan.refits else 0,
        again_folds=plan.refit_folds,
        workers=look.slots.workers,
        here=own.workers if elsewhere else look.slots.workers,
        minutes=plan.budget.minutes,
        pruned=not plan.options.known_only,
        needs=(
            Need(path=default_root(), bytes=rows * size * size * channels, what="decoded images"),
            Need(
                # The last epoch's weights and two moments of Adam, and the best epoch's weights,
                # of the trials that are kept and those that run.
                path=Path(plan.options.out).absolute(),
                bytes=4 * heaviest * (plan.options.keep + look.slots.workers + 1) + experiments,
                what="checkpoints",
            ),
            Need(
                # What each trial answered after each epoch; with folds out of fold alone.
                path=Path(plan.options.out).absolute(),
                bytes=4 * classes * plan.budget.trials * (both if folds else kept * val),
                what="answers",
            ),
        ),
    )
    return ahead, look


def _told(plan: Plan, run: RunDir) -> int:
    """Trials of a run that have ended in earlier sessions."""
    from search.errors import RunError
    from search.study import read_rows

    storage = run.study if plan.options.storage is None else plan.options.storage
    try:
        rows = read_rows(storage, name=run.name)
    except RunError:  # it was killed before it had a study, or who opens it to write will tell
        return 0
    return sum(row.state not in ("waiting", "running") for row in rows)
