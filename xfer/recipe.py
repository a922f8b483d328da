"""What is trained: images, objective and recipe as plain values.

Standard library only, so that loading a space loads neither torch nor Ray. Every class checks
itself when it is made and tells all of its problems together. What later versions will do, and
this one cannot, is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, get_args

from xfer.errors import RecipeError

Fit = Literal["squash", "pad", "crop"]
Pool = Literal["average", "flatten"]
ConvPool = Literal["max", "average"]
Activation = Literal["relu", "gelu", "silu", "none"]
OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine"]
BatchNorm = Literal["train", "inference"]
Weights = Literal["imagenet", "none"]
ObjectiveName = Literal[
    "recall_weighted", "balanced_accuracy", "fbeta", "mcc", "auroc", "average_precision"
]

_LATER: dict[str, tuple[str, ...]] = {
    "Objective.name": (
        "cost", "specificity_at_recall", "recall_at_specificity", "partial_auroc", "log_loss",
    ),
    "Head.pool": ("max", "both", "positional", "token"),
    "Schedule.name": ("step", "exponential", "on_plateau", "one_cycle"),
    "Recipe.balance": (
        "class_weights", "oversample", "oversample_augmented", "undersample", "focal", "ensemble",
    ),
    "Augment.mode": ("views", "fresh"),
    "Images.fit": ("pad", "crop"),
}  # fmt: skip
"""Names that DESIGN knows and no code stands behind yet: refused as such, never ignored."""


class _Problems:
    """Gathers what is wrong with one value, then raises once."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.found: list[str] = []

    def unless(self, good: bool, message: str) -> None:
        if not good:
            self.found.append(f"{self.owner}.{message}")

    def number(
        self, name: str, value: Any, low: float, high: float, *, whole: bool = False
    ) -> None:
        kind = "a whole number" if whole else "a number"
        right_type = isinstance(value, int if whole else (int, float)) and not isinstance(
            value, bool
        )
        good = right_type and isfinite(value) and low <= value <= high
        self.unless(good, f"{name} must be {kind} in [{low:g}, {high:g}], got {value!r}")

    def one_of(self, name: str, value: Any, allowed: tuple[Any, ...]) -> None:
        if value in _LATER.get(f"{self.owner}.{name}", ()):
            self.found.append(
                f"{self.owner}.{name}={value!r} is not built yet; use one of {allowed}"
            )
        else:
            self.unless(value in allowed, f"{name} must be one of {allowed}, got {value!r}")

    def later(self, name: str, value: Any, off: Any) -> None:
        self.unless(value == off, f"{name} is not built yet; leave it at {off!r}, got {value!r}")

    def tell(self) -> None:
        if self.found:
            raise RecipeError("; ".join(self.found))


def _tupled(value: object, *names: str) -> None:
    """Lists are taken for tuples, so that a recipe stays hashable whatever its author typed."""
    for name in names:
        if isinstance(getattr(value, name), list):
            object.__setattr__(value, name, tuple(getattr(value, name)))


def _counts(problems: _Problems, name: str, values: Any, *, at_least: int) -> None:
    good = isinstance(values, tuple) and len(values) >= at_least
    good = good and all(type(v) is int and 1 <= v <= 65_536 for v in values)
    size = "a tuple" if at_least == 0 else f"a tuple of at least {at_least}"
    problems.unless(good, f"{name} must be {size} of whole numbers in [1, 65536], got {values!r}")


def _pattern(problems: _Problems, name: str, value: str | None) -> None:
    if value is None:
        return
    try:
        groups = re.compile(value).groups
    except (re.error, TypeError) as error:
        problems.found.append(f"{problems.owner}.{name} is not a regular expression: {error}")
        return
    problems.unless(groups <= 1, f"{name} must have at most one group, got {groups} in {value!r}")


# --------------------------------------------------------------------------------------------------
# Images


@dataclass(frozen=True)
class Images:
    """Where the images are and how they are looked at."""

    path: str
    """A folder of class folders (with or without train, val, test above them), a MedMNIST-style
    `.npz`, or one of `builtin:digits`, `builtin:phantoms`."""
    positive: str | None = field(default=None, kw_only=True)
    """The class that must not be missed; all others together are the negatives. None: every class
    is predicted, by its own output."""
    size: int = field(default=224, kw_only=True)
    """Side of the square that a model sees, in pixels."""
    fit: Fit = field(default="squash", kw_only=True)
    """How another shape becomes square: `squash` scales both sides to `size`."""
    channels: Literal[1, 3] = field(default=3, kw_only=True)
    """1 keeps gray values only; models whose weights expect three see them three times."""
    patient: str | None = field(default=None, kw_only=True)
    """Regular expression searched in the path below `path`; what its group (or all of it) matches
    names the images that must stay on one side of every split. None: each image stands alone."""
    subgroup: str | None = field(default=None, kw_only=True)
    """Regular expression of a stratum to report; images without a match have none."""
    demo: bool = field(default=False, kw_only=True)
    """The space may run on phantoms where its data is missing. Every output then says so."""

    def __post_init__(self) -> None:
        problems = _Problems("Images")
        problems.unless(isinstance(self.path, str) and bool(self.path), "path must not be empty")
        positive_good = self.positive is None or (isinstance(self.positive, str) and self.positive)
        problems.unless(
            bool(positive_good), f"positive must be a class's name, got {self.positive!r}"
        )
        problems.number("size", self.size, 8, 4096, whole=True)
        problems.one_of("fit", self.fit, ("squash",))
        problems.one_of("channels", self.channels, (1, 3))
        _pattern(problems, "patient", self.patient)
        _pattern(problems, "subgroup", self.subgroup)
        problems.tell()


# --------------------------------------------------------------------------------------------------
# Objective


@dataclass(frozen=True)
class TargetRecall:
    """Ship the highest threshold whose recall, by its one-sided 95 % lower bound, reaches this."""

    recall: float
    """In (0, 1)."""

    def __post_init__(self) -> None:
        problems = _Problems("TargetRecall")
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
        problems = _Problems("FixedThreshold")
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
        problems = _Problems("Objective")
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


# --------------------------------------------------------------------------------------------------
# Recipe


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """A small convolutional network, trained from its first layer on."""

    kernels: tuple[int, ...]
    """Kernels of each convolution, from the input; its length is the depth."""
    kernel_size: int = 3
    """Side of every kernel, odd; padding keeps the resolution."""
    pool: ConvPool = "max"
    """What halves the resolution."""
    pool_after: tuple[int, ...] | None = None
    """Convolutions, counted from 1, that are followed by a 2 x 2 pool; None: all of them."""
    batch_norm: bool = False
    """Normalise each convolution's output before its ReLU."""
    dropout: float = 0.0
    """Share of channels dropped after each pool, in [0, 0.95]."""

    def __post_init__(self) -> None:
        _tupled(self, "kernels", "pool_after")
        problems = _Problems("ConvNet")
        _counts(problems, "kernels", self.kernels, at_least=1)
        problems.number("kernel_size", self.kernel_size, 1, 31, whole=True)
        if isinstance(self.kernel_size, int):
            problems.unless(
                self.kernel_size % 2 == 1, f"kernel_size must be odd, got {self.kernel_size}"
            )
        problems.one_of("pool", self.pool, get_args(ConvPool))
        if self.pool_after is not None:
            _counts(problems, "pool_after", self.pool_after, at_least=0)
            if not problems.found:
                beyond = [n for n in self.pool_after if n > len(self.kernels)]
                problems.unless(
                    not beyond,
                    f"pool_after names convolutions {beyond}, there are {len(self.kernels)}",
                )
        problems.unless(
            isinstance(self.batch_norm, bool), f"batch_norm must be a bool, got {self.batch_norm!r}"
        )
        problems.number("dropout", self.dropout, 0.0, 0.95)
        problems.tell()


@dataclass(frozen=True)
class Pretrained:
    """A torchvision backbone with its own weights and its own preprocessing."""

    name: str
    """As torchvision spells it: `resnet18`."""
    unfreeze_depth: int = field(default=0, kw_only=True)
    """Stages trained besides the head, counted from the output: 0 to 4."""
    train: tuple[str, ...] | None = field(default=None, kw_only=True)
    """Modules trained, by torchvision's names (not built yet)."""
    cut_after: str | None = field(default=None, kw_only=True)
    """Node after which the backbone ends (not built yet)."""
    batch_norm: BatchNorm = field(default="inference", kw_only=True)
    """Mode of batch norms in trained stages; in frozen ones it is always inference."""
    weights: Weights = field(default="imagenet", kw_only=True)
    """`none` starts from seeded random weights."""
    lr_factor: float = field(default=1.0, kw_only=True)
    """The backbone's learning rate over the head's, in (0, 10]."""

    def __post_init__(self) -> None:
        problems = _Problems("Pretrained")
        problems.unless(
            isinstance(self.name, str) and bool(self.name),
            f"name must be a name, got {self.name!r}",
        )
        problems.number("unfreeze_depth", self.unfreeze_depth, 0, 4, whole=True)
        problems.later("train", self.train, None)
        problems.later("cut_after", self.cut_after, None)
        problems.one_of("batch_norm", self.batch_norm, get_args(BatchNorm))
        problems.one_of("weights", self.weights, get_args(Weights))
        problems.number("lr_factor", self.lr_factor, 1e-6, 10.0)
        problems.tell()


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands between the last feature map and the outputs; always trained."""

    pool: Pool = "average"
    """`average` over positions, or `flatten` all of them."""
    dense: tuple[int, ...] = ()
    """Widths of dense layers before the outputs."""
    activation: Activation = "relu"
    """After each dense layer."""
    dropout: float = 0.0
    """Share of values dropped before each dense layer and before the outputs, in [0, 0.95]."""

    def __post_init__(self) -> None:
        _tupled(self, "dense")
        problems = _Problems("Head")
        problems.one_of("pool", self.pool, get_args(Pool))
        _counts(problems, "dense", self.dense, at_least=0)
        problems.one_of("activation", self.activation, get_args(Activation))
        problems.number("dropout", self.dropout, 0.0, 0.95)
        problems.tell()


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over training."""

    name: ScheduleName = "constant"
    """`cosine` falls from lr to zero over the recipe's epochs."""

    def __post_init__(self) -> None:
        problems = _Problems("Schedule")
        problems.one_of("name", self.name, get_args(ScheduleName))
        problems.tell()


@dataclass(frozen=True)
class Augment:
    """Random changes to training images."""

    mode: Literal["none", "views", "fresh"] = "none"
    """`none` is all that is built yet."""

    def __post_init__(self) -> None:
        problems = _Problems("Augment")
        problems.one_of("mode", self.mode, ("none",))
        problems.tell()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything one training run is made of, but for images, objective and seed."""

    model: ConvNet | Pretrained
    """What makes features of an image."""
    head: Head = field(default_factory=Head)
    """What makes outputs of features."""
    lr: float
    """Learning rate at the start, in (0, 10]."""
    optimizer: OptimizerName = "adam"
    """Name of the update rule."""
    momentum: float = 0.9
    """Of `sgd`, in [0, 0.9999]."""
    nesterov: bool = False
    """Of `sgd`."""
    schedule: Schedule = field(default_factory=Schedule)
    """How lr changes."""
    batch_size: int = 32
    """Images per step, in [1, 4096]."""
    epochs: int | None = None
    """Passes over the training part; None: the budget's."""
    early_stopping: int | None = None
    """Epochs without a better search score after which training ends; None: never."""
    l1: float = 0.0
    """Adds l1 * sum |w| over trained weights (no biases, no norms) to the loss."""
    l2: float = 0.0
    """Adds l2 * sum w^2 over the same weights; with `adamw` it is the decoupled decay instead:
    w shrinks by lr * l2 per step."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to training images."""
    balance: str = "none"
    """`none` is all that is built yet."""

    def __post_init__(self) -> None:
        problems = _Problems("Recipe")
        for name, kinds in _PARTS.items():
            value = getattr(self, name)
            allowed = " or ".join(kind.__name__ for kind in kinds)
            problems.unless(isinstance(value, kinds), f"{name} must be a {allowed}, got {value!r}")
        problems.number("lr", self.lr, 1e-9, 10.0)
        problems.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        problems.number("momentum", self.momentum, 0.0, 0.9999)
        problems.unless(
            not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0),
            "nesterov needs optimizer='sgd' with momentum above 0",
        )
        problems.number("batch_size", self.batch_size, 1, 4096, whole=True)
        if self.epochs is not None:
            problems.number("epochs", self.epochs, 1, 10_000, whole=True)
        if self.early_stopping is not None:
            problems.number("early_stopping", self.early_stopping, 1, 10_000, whole=True)
        problems.number("l1", self.l1, 0.0, 10.0)
        problems.number("l2", self.l2, 0.0, 10.0)
        problems.one_of("balance", self.balance, ("none",))
        problems.tell()


_PARTS: dict[str, tuple[type, ...]] = {
    "model": (ConvNet, Pretrained),
    "head": (Head,),
    "schedule": (Schedule,),
    "augment": (Augment,),
}

# --------------------------------------------------------------------------------------------------
# To and from JSON

_KINDS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        Images, TargetRecall, BestScore, FixedThreshold, Objective,
        ConvNet, Pretrained, Head, Schedule, Augment, Recipe,
    )
}  # fmt: skip


def to_json(value: Any) -> Any:
    """The same in lists, dicts, strings and numbers; each dict names its class under `kind`.

    >>> to_json(Head(dense=(64,)))["dense"]
    [64]
    """
    if is_dataclass(value) and not isinstance(value, type):
        body = {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, **body}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """What `to_json` was given.

    Raises:
        RecipeError: an unknown kind or field, a missing field, or a value out of range.

    >>> from_json(to_json(Pretrained("resnet18", unfreeze_depth=2))).unfreeze_depth
    2
    """
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = _KINDS.get(value.get("kind", ""))
    if kind is None:
        raise RecipeError(f"kind must be one of {sorted(_KINDS)}, got {value.get('kind')!r}")
    body = {name: from_json(item) for name, item in value.items() if name != "kind"}
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(body) - known)
    if unknown:
        raise RecipeError(f"{value['kind']} has no {unknown}; it has {sorted(known)}")
    try:
        return kind(**body)
    except TypeError as error:
        raise RecipeError(f"{value['kind']}: {error}") from None
