"""What should somebody know of a space that is no mistake?"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.distributions import FloatDistribution

from search.check.conditions import continuous_conditions
from search.check.rules import ranges
from search.check.walk import Walk
from search.plan import Plan
from xfer.recipe import Objective, Recipe, TargetRecall


def make_notes(
    plan: Plan, walks: Sequence[Walk], *, classes: int, prevalence: float | None
) -> list[str]:
    """Sentences about the space, its budget and its objective.

    Args:
        plan: The space with its options.
        walks: Through it.
        classes: Outputs of the models.
        prevalence: Share of positive images; None: unknown, or several classes.
    """
    notes = []
    asked = ranges(walks)
    if not asked:
        notes.append("The space asks for nothing: every trial is the same recipe.")
    smooth = [n for n, r in asked.items() if isinstance(r, FloatDistribution) and r.step is None]
    answers = [walk.answers for walk in walks if walk.recipe is not None]
    notes += [f"{text}." for text in continuous_conditions(answers, smooth)]
    late = list(plan.known)[plan.budget.trials :]
    if late:
        notes.append(f"With {plan.budget.trials} trials these known configurations are never "
                     f"tried: {', '.join(late)}.")  # fmt: skip
    never = [
        walk.recipe
        for walk in walks
        if walk.recipe is not None
        and plan.most_epochs is None  # a cap was asked for
        and walk.recipe.early_stopping is not None
        and walk.recipe.early_stopping >= _counted(walk.recipe, plan.budget.epochs)
    ]
    if never:
        notes.append(f"early_stopping={never[0].early_stopping} never acts in "
                     f"{_counted(never[0], plan.budget.epochs)} epochs.")  # fmt: skip
    objective = plan.objective
    if plan.data.positive is None and classes > 2 and isinstance(objective.threshold, TargetRecall):
        notes.append(f"TargetRecall({objective.threshold.recall:g}) has no effect: no class is the "
                     f"positive one, {classes} are predicted.")  # fmt: skip
    if objective.name == "recall_weighted" and prevalence is not None:
        notes.append(_cost(objective, prevalence))
    return notes


def _counted(recipe: Recipe, epochs: int) -> int:
    """Epochs in which early stopping counts."""
    first = 0 if recipe.head_first is None else recipe.head_first.epochs
    return (recipe.epochs or epochs) - first


def _cost(objective: Objective, prevalence: float) -> str:
    from xfer.evaluate.objectives import cost_ratio

    ratio = cost_ratio(objective.recall_weight, prevalence)
    share = f"with {100 * prevalence:.2g}% positives"
    if ratio == float("inf"):
        return f"recall_weight=1, {share}: only misses count, false alarms cost nothing."
    return (
        f"recall_weight={objective.recall_weight:g}, {share}: a miss costs as much as "
        f"{f'{ratio:,.0f}' if ratio >= 10 else f'{ratio:.2g}'} false alarms."
    )
