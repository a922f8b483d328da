"""What does a space maximise, in words, and can its images be scored by that?"""

from __future__ import annotations

from search.amounts import share
from search.plan import Plan
from xfer.recipe import Objective, Table


def in_words(objective: Objective) -> str:
    """Name and numbers.

    >>> in_words(Objective("cost", miss_cost=10, prevalence=0.05))
    'cost (a miss costs 10 false alarms, at a prevalence of 5%)'
    >>> in_words(Objective("specificity_at_recall", at=0.95))
    'specificity_at_recall (at a recall of .95)'
    >>> in_words(Objective("auroc", minimise="parameters"))
    'auroc, with few parameters'
    """
    weight, said = objective.recall_weight, []
    match objective.name:
        case "recall_weighted":
            said.append(f"{share(weight)} recall + {share(1 - weight)} specificity")
        case "cost":
            said.append(f"a miss costs {objective.miss_cost:g} false alarms")
            if objective.prevalence is not None:
                said.append(f"at a prevalence of {100 * objective.prevalence:g}%")
        case "specificity_at_recall":
            said.append(f"at a recall of {share(objective.at)}")
        case "recall_at_specificity":
            said.append(f"at a specificity of {share(objective.at)}")
        case "partial_auroc":
            said.append(f"where recall is at least {share(objective.above)}")
        case "fbeta":
            said.append(f"recall counts {objective.beta:g} times as much as precision")
        case _:
            pass
    if objective.over != "macro":
        said.append("of the worst class" if objective.over == "worst" else "of the worst subgroup")
    second = {"parameters": ", with few parameters", "latency": ", at a low latency", None: ""}
    return objective.name + (f" ({', '.join(said)})" if said else "") + second[objective.minimise]


def objective_problems(plan: Plan, *, classes: int) -> list[str]:
    """What keeps these images from being scored by the objective, as sentences without an end.

    Args:
        plan: what is asked for.
        classes: outputs of the models.
    """
    objective, data = plan.objective, plan.data
    several = data.positive is None and classes > 2
    found = []
    if objective.over == "worst" and not several:
        found.append(
            'Objective(over="worst") is the worst of several classes, and here are two; '
            'over="worst_subgroup" is the worst of the subgroups that Images names'
        )
    if objective.over == "worst_subgroup":
        column = data.path.subgroup if isinstance(data.path, Table) else None
        if data.positive is None:
            found.append('Objective(over="worst_subgroup") needs a positive class')
        if data.subgroup is None and column is None:
            found.append(
                'Objective(over="worst_subgroup") needs subgroups: Images(subgroup=...), or a '
                "column of the table"
            )
    if objective.name == "recall_weighted" and objective.recall_weight in (0.0, 1.0):
        one = "all positive" if objective.recall_weight else "none"
        found.append(
            f"recall_weight={objective.recall_weight:g} is fully reached by calling {one}: no "
            "model can be better than that; choose a weight between 0 and 1"
        )
    return found
