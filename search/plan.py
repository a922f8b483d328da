"""What will be searched? A space, as the options ask for it.

Neither torch nor Ray is loaded here. `Plan.recipe` stands between a trial and the space's
function: it narrows the choice of models, says how long a recipe trains, and from which weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log
from pathlib import Path
from typing import Any

from search.amounts import counted
from search.errors import OptionsError, SpaceError
from search.messages import together
from search.narrowing import CONVNET, NarrowedTrial, left_known, published_of
from search.options import Options
from search.places import place_of
from search.space import Budget, Published, Space, Trial
from xfer.errors import RecipeError
from xfer.models.table import TABLE
from xfer.recipe import (
    Images,
    Objective,
    Pretrained,
    Recipe,
    Table,
    TargetRecall,
    is_local,
    to_json,
)

LEAST_POSITIVES, LEAST_OF_EACH = 30, 10
"""In validation, with a positive class and with several classes alike."""
REFITS, REFIT_FOLDS = 3, 5
"""Unless something else is asked for."""
DEMO_REFITS, DEMO_REFIT_FOLDS = 2, 3
DEMO_TRIALS, DEMO_EPOCHS, DEMO_MINUTES, DEMO_SIZE = 10, 6, 1.5, 64
"""A demo's budget: with start and end, three minutes on two cores."""
SPLIT_SEED = 0
"""Of the splits we cut. Not --seed: another seed would be another test part, and whoever tries
several seeds would choose among test parts."""
DEMO_IMAGES = {
    "path": "builtin:phantoms",
    "positive": "PNEUMONIA",
    "patient": None,  # the phantoms know
    "subgroup": "(bacteria|virus)",
}
"""In place of the space's."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A space with options applied to it."""

    space: Space
    """As it was loaded."""
    options: Options
    """As they were asked for."""
    data: Images
    """The images; a path of this machine is absolute."""
    budget: Budget
    """When the search ends, and the epochs of a recipe that names none."""
    most_epochs: int | None
    """Cap on every recipe's epochs; None: no cap."""
    known: Mapping[str, Mapping[str, Any]]
    """Configurations tried first, by name, in order."""
    published: Mapping[str, Published]
    """What a study reported of some of them, by the same names."""
    models: frozenset[str] | None
    """The models that may be chosen; None: all that the space names."""
    demo: bool
    """The images are built-in phantoms, and every output says so."""
    notes: tuple[str, ...]
    """What the options changed that somebody should read, a sentence each."""

    @property
    def refits(self) -> int:
        """Trials that are trained again on folds, to choose among them; 0: none."""
        if self.options.refits is not None:
            return self.options.refits
        if self.options.known_only:
            return 0
        return DEMO_REFITS if self.demo else REFITS

    @property
    def refit_folds(self) -> int:
        """Folds that they are trained on."""
        if self.options.folds is not None:
            return self.options.folds
        return DEMO_REFIT_FOLDS if self.demo else REFIT_FOLDS

    @property
    def keep(self) -> int:
        """Trials whose checkpoints stay until the test part is opened."""
        return max(self.options.keep, len(self.known) if self.options.known_only else 0)

    @property
    def altered(self) -> str | None:
        """How known configurations are trained otherwise than the space says; None: as it says.

        Where they are experiments alone; a search may be as small as somebody likes.
        """
        if not self.options.known_only or self.demo:
            return None
        ways = []
        if self.data.size != self.space.data.size:
            ways.append(f"at {self.data.size} pixels a side, not {self.space.data.size}")
        if self.most_epochs is not None:
            ways.append(f"for {counted(self.most_epochs, 'epoch')} at most")
        if not ways:
            return None
        return f"Not trained as the space says: {', '.join(ways)}."

    @property
    def objective(self) -> Objective:
        """The space's."""
        return self.space.objective

    @property
    def least_in_val(self) -> int:
        """Images of the positive class, or of each class, that validation needs to choose by.

        For a target recall as many as can vouch for it, with 95 % confidence, where none is missed:
        log(0.05) / log(recall), 59 for 0.95.
        """
        rule = self.objective.threshold
        if self.data.positive is None:
            return LEAST_OF_EACH
        if not isinstance(rule, TargetRecall) or not 0 < rule.recall < 1:
            return LEAST_POSITIVES
        return max(LEAST_POSITIVES, ceil(log(0.05) / log(rule.recall)))

    def recipe(self, trial: Trial) -> Recipe:
        """The recipe of a trial, its epochs and weights resolved.

        Raises:
            SpaceError: the space's function returned no `Recipe`.
            OptionsError: no choice is left of a choice of models.
            Exception: what the space's function raises.
        """
        recipe = self.space.function(NarrowedTrial(trial, self.models))
        if not isinstance(recipe, Recipe):
            raise SpaceError(f"space(trial) must return a Recipe, got {recipe!r}")
        asked = self.space.budget.epochs if recipe.epochs is None else recipe.epochs
        epochs = asked if self.most_epochs is None else min(asked, self.most_epochs)
        first, schedule = recipe.head_first, recipe.schedule
        if epochs < asked:  # a cap shortens what is counted in epochs from the start, too
            share = epochs / asked
            schedule = replace(schedule, warmup_epochs=schedule.warmup_epochs * share)
            if first is not None:
                first = replace(first, epochs=max(1, min(epochs - 1, round(first.epochs * share))))
        model, weights = recipe.model, self.options.weights
        if isinstance(model, Pretrained) and weights == "none":
            model = replace(model, weights="none", unfreeze_depth=4, train=None)
        elif isinstance(model, Pretrained) and weights == "imagenet":
            model = replace(model, weights="imagenet")
        return replace(recipe, epochs=epochs, head_first=first, schedule=schedule, model=model)

    def to_json(self) -> dict[str, Any]:
        """What a manifest keeps of it."""
        return {
            "options": self.options.to_json(),
            "data": to_json(self.data),
            "objective": to_json(self.objective),
            "budget": {
                "minutes": self.budget.minutes,
                "trials": self.budget.trials,
                "epochs": self.budget.epochs,
            },
            "most_epochs": self.most_epochs,
            "known": {name: dict(entry) for name, entry in self.known.items()},
            "models": None if self.models is None else sorted(self.models),
            "demo": self.demo,
            "notes": list(self.notes),
        }


def make_plan(space: Space, options: Options, *, at_hand: Sequence[str] | None = None) -> Plan:
    """A space with options applied.

    Args:
        space: The loaded space.
        options: What was asked for.
        at_hand: Backbones whose weights are on this machine, for a demo; None: look.

    Raises:
        OptionsError: options that this space cannot follow; all of them in one message.
    """
    problems: list[str] = []
    notes: list[str] = []
    data, demo = _images(space, options, problems, notes)
    models = frozenset(options.backbones) if options.backbones is not None else None
    if demo and models is None:
        here = tuple(TABLE)
        if options.weights != "none":
            here = _here() if at_hand is None else at_hand
            notes.append(f"Searched are ConvNets and the backbones whose weights are on this "
                         f"machine: {', '.join(here) or 'none'}.")  # fmt: skip
        fitting = [n for n in here if n in TABLE and TABLE[n].nearest_size(data.size) == data.size]
        models = frozenset((CONVNET, *fitting))
    left = left_known(space, options, models, problems, notes)
    known = {name: one.params for name, one in left.items()}
    budget = space.budget
    caps = [options.epochs] if options.epochs is not None else []
    if demo:
        caps += [DEMO_EPOCHS] if options.epochs is None else []
        minutes = DEMO_MINUTES if budget.minutes is None else min(budget.minutes, DEMO_MINUTES)
        budget = replace(budget, minutes=minutes, trials=min(budget.trials, DEMO_TRIALS))
    if options.minutes is not None:
        budget = replace(budget, minutes=options.minutes)
    if options.trials is not None:
        budget = replace(budget, trials=options.trials)
    if options.known_only:
        if options.trials is not None:
            problems.append("--known-only runs as many trials as there are configurations; "
                            "leave --trials out")  # fmt: skip
        if not known:
            problems.append("--known-only has nothing to run: no known configuration is left")
        budget = replace(budget, trials=max(1, len(known)))
        if options.weights == "none":
            problems.append("--known-only trains configurations as they are, and --weights none "
                            "would train others; --stand-in A=B runs them with a backbone whose "
                            "weights can be had, and calls them so")  # fmt: skip
        if options.minutes is None and budget.minutes is not None and not demo:
            notes.append(
                f"--known-only: the {budget.minutes:g} minutes of the space are those of a search, "
                "and do not count here; --minutes does."
            )
            budget = replace(budget, minutes=None)
    if caps:
        if options.epochs is not None and options.epochs > budget.epochs:
            notes.append(
                f"--epochs {options.epochs} is a cap: recipes that name no epochs train for the "
                f"space's {budget.epochs}."
            )
        budget = replace(budget, epochs=min(budget.epochs, *caps))
    if options.weights == "none":
        notes.append(
            "--weights none: backbones start from random weights, and all of their stages are "
            "trained, whatever the space's unfreeze depth says."
        )
    if options.folds is not None:
        notes.append(
            f"--folds {options.folds}: train and val are cut into {options.folds} folds by patient;"
            " a trial trains once for each, and its score is their mean. The winner is then trained"
            " on train, with val to choose its epoch."
        )
    if problems:
        raise OptionsError(together(problems))
    return Plan(
        space=space, options=options, data=data, budget=budget,
        most_epochs=min(caps) if caps else None, known=known,
        published={} if demo else published_of(space, left, data.positive, notes), models=models,
        demo=demo, notes=tuple(notes),
    )  # fmt: skip


def _here() -> list[str]:
    from xfer.models.weights import at_hand

    return [name for name in TABLE if at_hand(name)]


def _images(
    space: Space, options: Options, problems: list[str], notes: list[str]
) -> tuple[Images, bool]:
    path = place_of(space.data.path, options.data, notes)
    place = path.file if isinstance(path, Table) else path
    # A missing folder that no demo stands in for is told by xfer.data, with the other problems.
    missing = is_local(place) and not Path(place).exists()
    demo = options.demo or (missing and space.data.demo and options.data is None)
    changes: dict[str, Any] = {"path": path}
    if demo:
        reason = "--demo" if options.demo else f"no images at {place}"
        notes.append(f"DEMO, SYNTHETIC IMAGES ({reason}): nothing below is about real images.")
        changes = {**DEMO_IMAGES, "size": min(space.data.size, DEMO_SIZE)}
    changes |= {"positive": options.positive} if options.positive is not None else {}
    changes |= {"size": options.image_size} if options.image_size is not None else {}
    changes |= {"test_share": options.test_share} if options.test_share is not None else {}
    try:
        return replace(space.data, **changes), demo
    except RecipeError as error:
        problems.append(str(error))
        return space.data, demo
