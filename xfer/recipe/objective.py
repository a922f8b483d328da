"""What is maximised, and which threshold ships?"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from xfer.recipe.problems import Problems

ObjectiveName = Literal[
    "recall_weighted", "cost", "balanced_accuracy", "fbeta", "mcc", "specificity_at_recall",
    "recall_at_specificity", "auroc", "partial_auroc", "average_precision", "log_loss",
]  # fmt: skip
Over = Literal["macro", "worst", "worst_subgroup"]
Cost = Literal["parameters", "latency"]

_NUMBERS: dict[str, tuple[str, ...]] = {
    "recall_weight": ("recall_weighted",),
    "beta": ("fbeta",),
    "miss_cost": ("cost",),
    "prevalence": ("cost",),
    "at": ("specificity_at_recall", "recall_at_specificity"),
    "above": ("partial_auroc",),
}
"""Which names use a number."""
_OPTIONAL = {
    "miss_cost": (0.001, 1e6),
    "prevalence": (1e-6, 0.999999),
    "at": (0.01, 1.0),
    "above": (0.0, 0.99),
}
"""Ranges of those that have no default."""
_NEEDED = {
    "cost": ("miss_cost", "such as miss_cost=10: a miss is worth ten false alarms"),
    "specificity_at_recall": ("at", "such as at=0.95: the recall that has to be reached"),
    "recall_at_specificity": ("at", "such as at=0.9: the specificity that has to be reached"),
    "partial_auroc": ("above", "such as above=0.9: the recall from which on the area counts"),
}
"""What a name cannot do without."""


@dataclass(frozen=True)
class TargetRecall:
    """Ship the highest threshold whose recall, by its one-sided 95 % lower bound, reaches this."""

    recall: float
    """In (0, 1)."""

    def __post_init__(self) -> None:
        problems = Problems("TargetRecall")
        problems.number("recall", self.recall, 0.01, 0.9999)
        problems.tell()


@dataclass(frozen=True)
class BestScore:
    """Ship the threshold at which the objective is best on validation."""


@dataclass(frozen=True)
class FixedThreshold:
    """Ship this threshold."""

    value: float = 0.5
    """Probability of the positive class, in [0, 1]."""

    def __post_init__(self) -> None:
        problems = Problems("FixedThreshold")
        problems.number("value", self.value, 0.0, 1.0)
        problems.tell()


@dataclass(frozen=True)
class Objective:
    """What is maximised on validation, and which threshold ships in the end.

    More is better for each, and 1 is the most:

    * `recall_weighted`: `w * recall + (1 - w) * specificity` (not scikit-learn's scorer of that
      name, which weighs classes by their size), in [0, 1].
    * `cost`: 1 - expected cost / cost of the worst answer, in [0, 1]. A miss costs `miss_cost`
      false alarms, so at a prevalence p the expected cost per image is
      `p * miss_cost * (1 - recall) + (1 - p) * (1 - specificity)`, and at worst
      `p * miss_cost + 1 - p`. Source: C. Drummond and R. C. Holte, Cost curves, Machine Learning
      65, 2006 (their normalised expected cost).
    * `specificity_at_recall`: the highest specificity of a threshold whose recall is at least `at`;
      `recall_at_specificity` the other way round. In [0, 1]; chance gets 1 - `at`.
    * `partial_auroc`: the area under the ROC curve where recall is at least `above` (Y. Jiang,
      C. E. Metz and R. M. Nishikawa, Radiology 201, 1996), standardised so that chance gets 0.5 and
      a perfect order 1 (D. K. McClish, Medical Decision Making 9, 1989), in
      [above / (1 + above), 1]. With the classes exchanged this is scikit-learn's
      `roc_auc_score(max_fpr=1 - above)`; with `above=0` it is `auroc`.
    * `log_loss`: exp(-log loss), the geometric mean of the probability given to the true class, in
      (0, 1]; probabilities are clipped as in scikit-learn.
    * `balanced_accuracy`, `fbeta`, `auroc`, `average_precision` (in [0, 1]) and `mcc` (in [-1, 1]):
      as in scikit-learn.

    A number that belongs to another name is refused, never ignored.

    With `minimise` there are two objectives: the one above, and what a trial's model costs. The
    result is their Pareto front, the trials that no other beats in one without losing in the other.
    """

    name: ObjectiveName
    """One of the above."""
    recall_weight: float = field(default=0.5, kw_only=True)
    """w of `recall_weighted`, in [0, 1]."""
    miss_cost: float | None = field(default=None, kw_only=True)
    """Of `cost`, which needs it: false alarms that a miss is worth, in [0.001, 1e+06]."""
    prevalence: float | None = field(default=None, kw_only=True)
    """Of `cost`: share of positives where the model will be used, in [1e-06, 0.999999]; None: that
    of the images scored. With several classes, of each class against the rest."""
    beta: float = field(default=2.0, kw_only=True)
    """Of `fbeta`: recall counts beta times as much as precision."""
    at: float | None = field(default=None, kw_only=True)
    """Of `specificity_at_recall` and `recall_at_specificity`, which need it: the recall, or the
    specificity, that has to be reached; in [0.01, 1]."""
    above: float | None = field(default=None, kw_only=True)
    """Of `partial_auroc`, which needs it: the recall from which on area counts, in [0, 0.99]."""
    over: Over = field(default="macro", kw_only=True)
    """How many scores become one. `macro`: with several classes the mean over them, each against
    the rest (`mcc` is Gorodkin's, `log_loss` that of all images). `worst`: the worst class instead
    of the mean. `worst_subgroup`: with a positive class, where `Images` names subgroups, the worst
    of them: the positives of one subgroup against all negatives."""
    threshold: TargetRecall | BestScore | FixedThreshold = field(
        default_factory=BestScore, kw_only=True
    )
    """Rule for the threshold that ships; of no effect with several classes."""
    minimise: Cost | None = field(default=None, kw_only=True)
    """A second objective, less of which is better. `parameters`: all of the model that ships,
    frozen ones too. `latency`: milliseconds of its forward pass of one image, on the device and
    with the threads of the worker. None: there is one objective."""

    def __post_init__(self) -> None:
        problems = Problems("Objective")
        problems.one_of("name", self.name, get_args(ObjectiveName))
        problems.number("recall_weight", self.recall_weight, 0.0, 1.0)
        problems.number("beta", self.beta, 0.01, 100.0)
        for name, (low, high) in _OPTIONAL.items():
            if getattr(self, name) is not None:
                problems.number(name, getattr(self, name), low, high)
        problems.one_of("over", self.over, get_args(Over))
        problems.one_of("minimise", self.minimise, (None, *get_args(Cost)))
        rules = (TargetRecall, BestScore, FixedThreshold)
        names = ", ".join(rule.__name__ for rule in rules)
        problems.unless(
            isinstance(self.threshold, rules),
            f"threshold must be one of {names}, got {self.threshold!r}",
        )
        if not problems.found:
            self._check_numbers(problems)
        problems.tell()

    def _check_numbers(self, problems: Problems) -> None:
        """Wants each number given that the name needs, and none that it does not use."""
        defaults = {f.name: f.default for f in fields(self)}
        needed = _NEEDED.get(self.name)
        if needed is not None and getattr(self, needed[0]) is None:
            problems.found.append(f"Objective.name={self.name!r} needs {', '.join(needed)}")
        for name, owners in _NUMBERS.items():
            problems.unless(
                self.name in owners or getattr(self, name) == defaults[name],
                f"{name} is a number of {' and '.join(owners)}, and name={self.name!r} does not "
                f"use it: leave it out",
            )
