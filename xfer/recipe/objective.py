"""What is maximised, and which threshold ships?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems

ObjectiveName = Literal[
    "recall_weighted", "balanced_accuracy", "fbeta", "mcc", "auroc", "average_precision"
]


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
    """What is maximised on validation, and which threshold ships in the end."""

    name: ObjectiveName
    """`recall_weighted` is `w * recall + (1 - w) * specificity` (not scikit-learn's scorer of that
    name, which weighs classes by their size); the rest as in scikit-learn. For several classes:
    the mean over classes, each against the rest."""
    recall_weight: float = field(default=0.5, kw_only=True)
    """w of `recall_weighted`, in [0, 1]."""
    beta: float = field(default=2.0, kw_only=True)
    """Of `fbeta`: recall counts beta times as much as precision."""
    threshold: TargetRecall | BestScore | FixedThreshold = field(
        default_factory=BestScore, kw_only=True
    )
    """Rule for the threshold that ships; of no effect with several classes."""

    def __post_init__(self) -> None:
        problems = Problems("Objective")
        problems.one_of("name", self.name, get_args(ObjectiveName))
        problems.number("recall_weight", self.recall_weight, 0.0, 1.0)
        problems.number("beta", self.beta, 0.01, 100.0)
        rules = (TargetRecall, BestScore, FixedThreshold)
        names = ", ".join(rule.__name__ for rule in rules)
        problems.unless(
            isinstance(self.threshold, rules),
            f"threshold must be one of {names}, got {self.threshold!r}",
        )
        problems.tell()
