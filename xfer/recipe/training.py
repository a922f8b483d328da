"""What is one training run made of?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.augment import Augment
from xfer.recipe.model import ConvNet, Head, Pretrained
from xfer.recipe.problems import Problems

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "step", "exponential", "on_plateau", "one_cycle"]
L1On = Literal["all", "convolutions"]
Balance = Literal[
    "none",
    "class_weights",
    "oversample",
    "oversample_augmented",
    "undersample",
    "focal",
    "ensemble",
]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over training.

    With `Recipe.head_first` it runs over the second phase; the first has a rate of its own.
    """

    name: ScheduleName = "constant"
    """`cosine` falls from lr to zero. `step` is lr * factor^floor(t / every), `exponential`
    lr * factor^(t / every). `on_plateau` multiplies by factor whenever `val/loss` has not come
    below its lowest for `patience` epochs in a row. `one_cycle` climbs from lr / 25 to lr in the
    first 30 % of all steps, and falls to lr / 250,000 in the others; momentum does not cycle."""
    factor: float = field(default=0.1, kw_only=True)
    """Of `step`, `exponential` and `on_plateau`, in (0, 1]."""
    every: int = field(default=10, kw_only=True)
    """Epochs or steps in which `step` and `exponential` come to their factor once."""
    per: Literal["epoch", "step"] = field(default="epoch", kw_only=True)
    """What t counts, of `step` and `exponential`: finished epochs, or finished steps."""
    patience: int = field(default=3, kw_only=True)
    """Of `on_plateau`, in epochs."""
    warmup_epochs: float = field(default=0.0, kw_only=True)
    """Epochs, also parts of one, in which the rate climbs to the schedule's in even steps: of
    `cosine` before it begins, of the others over their first epochs. Where training ends first, it
    never gets there."""

    def __post_init__(self) -> None:
        problems = Problems("Schedule")
        problems.one_of("name", self.name, get_args(ScheduleName))
        problems.number("factor", self.factor, 1e-9, 1.0)
        problems.number("every", self.every, 1, 10**9, whole=True)
        problems.one_of("per", self.per, ("epoch", "step"))
        problems.number("patience", self.patience, 1, 10_000, whole=True)
        problems.number("warmup_epochs", self.warmup_epochs, 0.0, 10_000.0)
        problems.unless(
            self.name != "one_cycle" or self.warmup_epochs == 0,
            f"warmup_epochs must stay 0 with one_cycle, which warms up by itself, got "
            f"{self.warmup_epochs!r}",
        )
        problems.tell()


@dataclass(frozen=True, kw_only=True)
class HeadFirst:
    """A first phase in which the head is trained alone, on a frozen backbone."""

    epochs: int
    """Of this phase, at least 1; they count among the recipe's."""
    lr: float
    """Learning rate of this phase, in (0, 10]; it stays constant."""

    def __post_init__(self) -> None:
        problems = Problems("HeadFirst")
        problems.number("epochs", self.epochs, 1, 10_000, whole=True)
        problems.number("lr", self.lr, 1e-9, 10.0)
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
    """Passes over the training part, those of `head_first` among them; None: the budget's."""
    head_first: HeadFirst | None = None
    """Train the head alone for some epochs, then as the model says; None: at once. Needs a backbone
    of which something is trained."""
    early_stopping: int | None = None
    """Epochs without a better search score after which training ends; those of `head_first` do not
    count, but the best may be one of them. The best epoch's weights are kept. None: never."""
    label_smoothing: float = 0.0
    """Share of each label spread evenly over all classes, in [0, 0.9]."""
    clip_norm: float | None = None
    """Longest gradient, by its norm over all trained parameters: that of the loss with `l1`; `l2`
    acts after it, inside the update rule. None: any."""
    l1: float = 0.0
    """Adds l1 * sum |w| over trained weights (no biases, no norms) to the loss."""
    l1_on: L1On = "all"
    """Which of these weights `l1` is on: all, or kernels of convolutions alone (the dense layers of
    a `positional` head are 1 x 1 convolutions)."""
    l2: float = 0.0
    """Adds l2 * sum w^2 over trained weights (no biases, no norms); with `adamw` it is the
    decoupled decay instead: w shrinks by lr * l2 per step."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to training images."""
    balance: Balance = "none"
    """What is done about classes of unequal size, in training alone; validation stays as it is.
    `class_weights` multiplies an image's loss by n / (classes * n_class). `oversample` draws
    images of rarer classes again, anew in each epoch, until all classes are as large as the
    largest; with `oversample_augmented` only what is drawn again is changed by `augment`.
    `undersample` draws as many images of each class as the rarest has, anew in each epoch. `focal`
    multiplies an image's loss by (1 - p)^focal_gamma, p being what its class was given. `ensemble`
    trains what is trained `ensemble_parts` times, each time on another part of the larger classes,
    and answers with the mean of their probabilities: the vote that study B describes, with a score.
    A class is cut into as many parts as it has times the images of the rarest, at most
    `ensemble_parts`; where it is cut into fewer, some are trained on more than once."""
    ensemble_parts: int = 3
    """Of `ensemble`, in [2, 16]: models, each with first weights of its own. What is frozen they
    share."""
    focal_gamma: float = 2.0
    """Of `focal`, in [0, 10]; 0 is the plain loss."""
    train_share: float = 1.0
    """Share of the training part that is trained on, by patient and class, in [0.01, 1]; a smaller
    share's images are among a larger one's. Two trials that differ in nothing else say what more
    images are worth."""

    def __post_init__(self) -> None:
        problems = Problems("Recipe")
        for name, kinds in _PARTS.items():
            value = getattr(self, name)
            allowed = " or ".join(kind.__name__.replace("NoneType", "None") for kind in kinds)
            problems.unless(isinstance(value, kinds), f"{name} must be a {allowed}, got {value!r}")
        problems.number("lr", self.lr, 1e-9, 10.0)
        problems.one_of("optimizer", self.optimizer, get_args(OptimizerName))
        problems.number("momentum", self.momentum, 0.0, 0.9999)
        problems.unless(
            isinstance(self.nesterov, bool), f"nesterov must be a bool, got {self.nesterov!r}"
        )
        problems.unless(
            not self.nesterov or (self.optimizer == "sgd" and self.momentum > 0),
            "nesterov needs optimizer='sgd' with momentum above 0",
        )
        problems.number("batch_size", self.batch_size, 1, 4096, whole=True)
        if self.epochs is not None:
            problems.number("epochs", self.epochs, 1, 10_000, whole=True)
        if self.early_stopping is not None:
            problems.number("early_stopping", self.early_stopping, 1, 10_000, whole=True)
        if self.head_first is not None and isinstance(self.head_first, HeadFirst):
            model = self.model
            thawed = isinstance(model, Pretrained) and bool(model.unfreeze_depth or model.train)
            problems.unless(
                thawed,
                "head_first needs a Pretrained model with an unfreeze_depth above 0, or with "
                "train: here nothing is thawed after the head",
            )
            problems.unless(
                not isinstance(self.epochs, int) or self.epochs > self.head_first.epochs,
                f"epochs must be more than the {self.head_first.epochs} of head_first, which count "
                f"among them, got {self.epochs}",
            )
        problems.number("label_smoothing", self.label_smoothing, 0.0, 0.9)
        if self.clip_norm is not None:
            problems.number("clip_norm", self.clip_norm, 1e-6, 1e6)
        problems.number("l1", self.l1, 0.0, 10.0)
        problems.one_of("l1_on", self.l1_on, get_args(L1On))
        problems.number("l2", self.l2, 0.0, 10.0)
        problems.one_of("balance", self.balance, get_args(Balance))
        problems.number("focal_gamma", self.focal_gamma, 0.0, 10.0)
        problems.number("train_share", self.train_share, 0.01, 1.0)
        problems.number("ensemble_parts", self.ensemble_parts, 2, 16, whole=True)
        problems.unless(
            self.balance == "ensemble" or self.ensemble_parts == 3,
            f"ensemble_parts must stay 3 with balance={self.balance!r}, which has none, got "
            f"{self.ensemble_parts!r}; balance='ensemble' uses it",
        )
        if self.balance == "oversample_augmented" and isinstance(self.augment, Augment):
            problems.unless(
                self.augment.mode != "none",
                "balance='oversample_augmented' needs an augment, such as Augment.light(); "
                "balance='oversample' repeats images as they are",
            )
            problems.unless(
                self.augment.mode != "views",
                "balance='oversample_augmented' changes nothing but what is drawn again, each time "
                "anew, and Augment.mode='views' makes the same images of every one: use mode="
                "'fresh', or balance='oversample', which draws an image with all of its views",
            )
        problems.tell()

    @property
    def members(self) -> int:
        """Models that are trained: 1, or those of an ensemble."""
        return self.ensemble_parts if self.balance == "ensemble" else 1


_PARTS: dict[str, tuple[type, ...]] = {
    "model": (ConvNet, Pretrained),
    "head": (Head,),
    "schedule": (Schedule,),
    "augment": (Augment,),
    "head_first": (HeadFirst, type(None)),
}
