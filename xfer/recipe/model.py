"""What makes features of an image, and outputs of features?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from xfer.recipe.problems import Problems, check_counts, tupled

Pool = Literal["average", "flatten"]
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
        tupled(self, "kernels", "pool_after")
        problems = Problems("ConvNet")
        check_counts(problems, "kernels", self.kernels, at_least=1)
        problems.number("kernel_size", self.kernel_size, 1, 31, whole=True)
        if isinstance(self.kernel_size, int):
            problems.unless(
                self.kernel_size % 2 == 1, f"kernel_size must be odd, got {self.kernel_size}"
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
        problems = Problems("Pretrained")
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
        tupled(self, "dense")
        problems = Problems("Head")
        problems.one_of("pool", self.pool, get_args(Pool))
        check_counts(problems, "dense", self.dense, at_least=0)
        problems.one_of("activation", self.activation, get_args(Activation))
        problems.number("dropout", self.dropout, 0.0, 0.95)
        problems.tell()
