"""What makes features of an image, and outputs of features?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems, check_counts, tupled

Pool = Literal["average", "max", "both", "flatten", "positional", "token"]
Padding = Literal["same", "valid"]
Initial = Literal[
    "he_uniform", "he_normal", "glorot_uniform", "glorot_normal", "orthogonal", "zeros", "ones"
]
ConvPool = Literal["max", "average"]
Activation = Literal["relu", "gelu", "silu", "none"]
BatchNorm = Literal["train", "inference"]
Weights = Literal["imagenet", "none"]


@dataclass(frozen=True, kw_only=True)
class ConvNet:
    """A small convolutional network, trained from its first layer on."""

    kernels: tuple[int, ...]
    """Kernels of each convolution, from the input; its length is the depth."""
    kernel_size: int = 3
    """Side of every kernel, in pixels; odd where the padding is `same`."""
    padding: Padding = "same"
    """`same` keeps the resolution; `valid` adds no border, so a map loses kernel_size - 1."""
    pool: ConvPool = "max"
    """What halves the resolution."""
    pool_after: tuple[int, ...] | None = None
    """Convolutions, counted from 1, that are followed by a 2 x 2 pool; None: all of them."""
    batch_norm: bool = False
    """Normalise each convolution's output before its ReLU."""
    dropout: float = 0.0
    """Share of channels dropped after each pool, in [0, 0.95]."""
    initial: Initial = "he_uniform"
    """What kernels and the head's layers start from; biases start at 0. By He's rules the outputs
    start near 0 (deviation 0.01), by all others they are filled like the rest."""

    def __post_init__(self) -> None:
        tupled(self, "kernels", "pool_after")
        problems = Problems("ConvNet")
        check_counts(problems, "kernels", self.kernels, at_least=1)
        problems.number("kernel_size", self.kernel_size, 1, 31, whole=True)
        problems.one_of("padding", self.padding, get_args(Padding))
        if isinstance(self.kernel_size, int):
            problems.unless(
                self.kernel_size % 2 == 1 or self.padding == "valid",
                f"kernel_size must be odd, got {self.kernel_size}; padding='valid' takes any",
            )
        problems.one_of("pool", self.pool, get_args(ConvPool))
        if self.pool_after is not None:
            check_counts(problems, "pool_after", self.pool_after, at_least=0)
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
        problems.one_of("initial", self.initial, get_args(Initial))
        problems.tell()


@dataclass(frozen=True)
class Pretrained:
    """A torchvision backbone with its own weights and its own preprocessing."""

    name: str
    """As torchvision spells it: `resnet18`."""
    unfreeze_depth: int = field(default=0, kw_only=True)
    """Stages trained besides the head, counted from the output: 0 to 4."""
    train: tuple[str, ...] | None = field(default=None, kw_only=True)
    """Modules or parameters trained besides the head, by torchvision's names, instead of a depth:
    `("Mixed_7c.branch_pool",)`. All others are frozen, on both sides of them."""
    cut_after: str | None = field(default=None, kw_only=True)
    """Module, or node of torchvision's feature extractor, after which the backbone ends; None: its
    last feature map. `python -m xfer.models NAME` lists both."""
    batch_norm: BatchNorm = field(default="inference", kw_only=True)
    """Mode of trained batch norms; frozen ones are always in inference."""
    weights: Weights = field(default="imagenet", kw_only=True)
    """`none` starts from seeded random weights."""
    lr_factor: float = field(default=1.0, kw_only=True)
    """The backbone's learning rate over the head's, in (0, 10]."""
    lr_decay: float = field(default=1.0, kw_only=True)
    """A stage's learning rate over that of the stage after it, in (0, 1]: the last stage has
    lr * lr_factor, the one before it lr * lr_factor * lr_decay, and so on."""

    def __post_init__(self) -> None:
        tupled(self, "train")
        problems = Problems("Pretrained")
        problems.unless(
            isinstance(self.name, str) and bool(self.name),
            f"name must be a name, got {self.name!r}",
        )
        problems.number("unfreeze_depth", self.unfreeze_depth, 0, 4, whole=True)
        if self.train is not None:
            good = isinstance(self.train, tuple) and len(self.train) > 0
            good = good and all(isinstance(name, str) and name for name in self.train)
            problems.unless(
                good, f"train must be None or a tuple of at least one name, got {self.train!r}"
            )
            problems.unless(
                self.unfreeze_depth == 0,
                f"train names what is trained, so unfreeze_depth must stay 0, got "
                f"{self.unfreeze_depth!r}",
            )
        problems.unless(
            self.cut_after is None or (isinstance(self.cut_after, str) and bool(self.cut_after)),
            f"cut_after must be None or a name, got {self.cut_after!r}",
        )
        problems.one_of("batch_norm", self.batch_norm, get_args(BatchNorm))
        problems.one_of("weights", self.weights, get_args(Weights))
        problems.number("lr_factor", self.lr_factor, 1e-6, 10.0)
        problems.number("lr_decay", self.lr_decay, 1e-6, 1.0)
        problems.tell()


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands between the last feature map and the outputs; always trained."""

    pool: Pool = "average"
    """What makes values of a feature map: `average` or `max` over positions; `both`, averages then
    maxima; `flatten`, all of them; `positional`, the dense layers at every position, then flatten;
    `token`, the class token of a ViT (whose other pools see its patches as a map)."""
    dense: tuple[int, ...] = ()
    """Widths of dense layers before the outputs."""
    activation: Activation = "relu"
    """After each dense layer."""
    dropout: float | tuple[float, ...] = 0.0
    """Share of values dropped before each dense layer and before the outputs, in [0, 0.95]; or one
    share for each of these places, in order."""

    def __post_init__(self) -> None:
        tupled(self, "dense", "dropout")
        problems = Problems("Head")
        problems.one_of("pool", self.pool, get_args(Pool))
        check_counts(problems, "dense", self.dense, at_least=0)
        problems.one_of("activation", self.activation, get_args(Activation))
        if isinstance(self.dropout, tuple):
            places = len(self.dense) + 1 if isinstance(self.dense, tuple) else 0
            problems.unless(
                len(self.dropout) == places,
                f"dropout must be a number or {places} of them (before each dense layer, and "
                f"before the outputs), got {self.dropout!r}",
            )
            for number, share in enumerate(self.dropout):
                problems.number(f"dropout[{number}]", share, 0.0, 0.95)
        else:
            problems.number("dropout", self.dropout, 0.0, 0.95)
        problems.tell()

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The share before each dense layer in turn, then before the outputs."""
        if isinstance(self.dropout, tuple):
            return self.dropout
        return (self.dropout,) * (len(self.dense) + 1)
