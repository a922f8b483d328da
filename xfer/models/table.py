"""Which backbones are there, and where may each be cut? One row per backbone; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Stage = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One of torchvision's classifiers without its classifier: images in, a feature map out."""

    stages: tuple[Stage, Stage, Stage, Stage]
    """Blocks by torchvision's module names, in the order they are applied. A block is a unit at
    which the prefix may end. A stage ends where resolution halves: a pool that stands alone ends
    the stage before it (what is kept after it is a quarter), a strided block begins the next.
    Surplus early levels belong to stage 1; a final norm or 1 x 1 convolution to stage 4."""
    weights: str
    """Member of torchvision's weights enum; mean, deviation and interpolation come with it."""
    file: str
    """Name of that member's file: known without torchvision, whose import takes five seconds."""
    min_size: int = 1
    """Smallest side of an image, in pixels; below it some map would have no pixel left."""
    multiple: int = 1
    """The side of an image must be a multiple of this, in pixels."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks, in order."""
        return tuple(block for stage in self.stages for block in stage)

    def nearest_size(self, size: int) -> int:
        """The allowed side that is closest to `size`, the larger one if two are."""
        lowest = -(-self.min_size // self.multiple)
        return self.multiple * max(lowest, (size + self.multiple // 2) // self.multiple)


def _children(parent: str, numbers: Iterable[int]) -> Stage:
    """Names of a Sequential's children.

    >>> _children("features", range(2, 4))
    ('features.2', 'features.3')
    """
    return tuple(f"{parent}.{number}" for number in numbers)


TABLE: dict[str, Backbone] = {
    "squeezenet1_1": Backbone(
        stages=(
            _children("features", range(3)),
            _children("features", range(3, 6)),
            _children("features", range(6, 9)),
            _children("features", range(9, 13)),
        ),
        weights="IMAGENET1K_V1",
        file="squeezenet1_1-b8a52dc0.pth",
        min_size=17,
    ),
    "mobilenet_v2": Backbone(
        stages=(
            _children("features", range(4)),
            _children("features", range(4, 7)),
            _children("features", range(7, 14)),
            _children("features", range(14, 19)),
        ),
        weights="IMAGENET1K_V2",
        file="mobilenet_v2-7ebf99e0.pth",
    ),
    "resnet18": Backbone(
        stages=(
            ("conv1", "bn1", "relu", "maxpool", *_children("layer1", range(2))),
            _children("layer2", range(2)),
            _children("layer3", range(2)),
            _children("layer4", range(2)),
        ),
        weights="IMAGENET1K_V1",
        file="resnet18-f37072fd.pth",
    ),
}
"""Every backbone that can be used, by torchvision's name."""

NOT_BUILT_YET: frozenset[str] = frozenset({
    "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "densenet169", "densenet201",
    "inception_v3", "vgg16", "vgg16_bn", "mobilenet_v3_small", "mobilenet_v3_large",
    "shufflenet_v2_x1_0", "mnasnet1_0", "efficientnet_b0", "efficientnet_b3", "efficientnet_v2_s",
    "regnet_y_400mf", "convnext_tiny", "convnext_small", "swin_t", "swin_v2_t", "vit_b_16",
})  # fmt: skip
"""Names that DESIGN knows and that have no row yet: refused as such."""
