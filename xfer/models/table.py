"""Which backbones are there, and where may each be cut? One row per backbone; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = tuple[str, ...]
Stages = tuple[Stage, Stage, Stage, Stage]
Interpolation = Literal["bilinear", "bicubic"]
Adapter = Literal["", "densenet", "inception", "vit"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One of torchvision's classifiers without its classifier: images in, a feature map out."""

    stages: Stages
    """Blocks by torchvision's module names, in the order they are applied. A block is a unit at
    which the prefix may end. A stage ends where resolution halves: a pool that stands alone ends
    the stage before it (what is kept after it is a quarter), a strided block begins the next.
    Surplus early levels belong to stage 1; a final norm or 1 x 1 convolution to stage 4."""
    file: str
    """Name of the weights' file: known without torchvision, whose import takes five seconds."""
    weights: str = "IMAGENET1K_V1"
    """Member of torchvision's weights enum; mean and deviation come with it. The first recipe
    where there is a choice: the second gains on ImageNet by label smoothing and the like, which
    make frozen features worse (Kornblith, Shlens, Le, "Do Better ImageNet Models Transfer
    Better?", 2019)."""
    interpolation: Interpolation = "bilinear"
    """How images were resized for these weights."""
    min_size: int = 1
    """Smallest side of an image, in pixels; below it some map would have no pixel left."""
    multiple: int = 1
    """The side of an image must be a multiple of this, in pixels."""
    tokens: int = 0
    """Class tokens before the patches, where features are (batch, tokens + patches, values)."""
    adapter: Adapter = ""
    """What makes a chain of modules of a model that does part of its work in functions."""
    arguments: Mapping[str, bool] = field(default_factory=dict)
    """Of torchvision's `get_model`, besides the name."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """All blocks, in order."""
        return tuple(block for stage in self.stages for block in stage)

    def nearest_size(self, size: int) -> int:
        """The allowed side that is closest to `size`, the larger one if two are."""
        lowest = -(-self.min_size // self.multiple)
        return self.multiple * max(lowest, (size + self.multiple // 2) // self.multiple)


# --------------------------------------------------------------------------------------------------
# Stages of a family


def _numbered(prefix: str, numbers: Iterable[int]) -> Stage:
    """Names that end in a number.

    >>> _numbered("features.", range(2, 4))
    ('features.2', 'features.3')
    """
    return tuple(f"{prefix}{number}" for number in numbers)


def _chain(parent: str, *counts: int) -> Stages:
    """A Sequential whose children are blocks; so many of them in each stage."""
    return _stacks(parent, *((0,) * count for count in counts))


def _stacks(parent: str, *stages: tuple[int, ...]) -> Stages:
    """A Sequential of Sequentials; for each child its number of blocks, or 0 if it is one itself.

    >>> _stacks("features", (0, 2), (0,), (0,), (0,))[0]
    ('features.0', 'features.1.0', 'features.1.1')
    """
    child = 0
    named: list[Stage] = []
    for counts in stages:
        blocks: list[str] = []
        for count in counts:
            whole = f"{parent}.{child}"
            blocks.extend(_numbered(f"{whole}.", range(count)) if count else (whole,))
            child += 1
        named.append(tuple(blocks))
    one, two, three, four = named
    return one, two, three, four


def _with(stages: Stages, *, before: Stage = (), after: Stage = ()) -> Stages:
    """Stages with blocks that come before the first and after the last."""
    one, two, three, four = stages
    return (*before, *one), two, three, (*four, *after)


def _resnet(*depths: int) -> Stages:
    one, two, three, four = (
        _numbered(f"layer{number}.", range(depth)) for number, depth in enumerate(depths, start=1)
    )
    return _with((one, two, three, four), before=("conv1", "bn1", "relu", "maxpool"))


def _densenet(*depths: int) -> Stages:
    def stage(number: int) -> Stage:
        layers = range(1, depths[number - 1] + 1)
        transition = ("norm", "relu", "conv", "pool") if number < 4 else ()
        return (
            *_numbered(f"features.denseblock{number}.denselayer", layers),
            *(f"features.transition{number}.{child}" for child in transition),
        )

    return _with(
        (stage(1), stage(2), stage(3), stage(4)),
        before=("features.conv0", "features.norm0", "features.relu0", "features.pool0"),
        after=("features.norm5", "features.relu"),
    )


def _convnext(*depths: int) -> Stages:
    """Between stages stand a norm, which works at the one's resolution, and a strided layer."""

    def stage(number: int) -> Stage:
        child = 2 * number - 1
        first = f"features.{child - 1}.1" if number > 1 else "features.0"
        blocks = _numbered(f"features.{child}.", range(depths[number - 1]))
        last = (f"features.{child + 1}.0",) if number < 4 else ()
        return (first, *blocks, *last)

    return stage(1), stage(2), stage(3), stage(4)


_SWIN_TINY = _with(
    _stacks("features", (0, 2), (0, 2), (0, 6), (0, 2)),  # 0: patches, or their merging
    after=("norm", "permute"),
)
_VIT_LAYER = "encoder.layers.encoder_layer_"

# --------------------------------------------------------------------------------------------------
# Rows

TABLE: dict[str, Backbone] = {
    "resnet18": Backbone(stages=_resnet(2, 2, 2, 2), file="resnet18-f37072fd.pth"),
    "resnet34": Backbone(stages=_resnet(3, 4, 6, 3), file="resnet34-b627a593.pth"),
    "resnet50": Backbone(stages=_resnet(3, 4, 6, 3), file="resnet50-0676ba61.pth"),
    "resnet101": Backbone(stages=_resnet(3, 4, 23, 3), file="resnet101-63fe2227.pth"),
    "resnet152": Backbone(stages=_resnet(3, 8, 36, 3), file="resnet152-394f9c45.pth"),
    "densenet121": Backbone(
        stages=_densenet(6, 12, 24, 16),
        file="densenet121-a639ec97.pth",
        min_size=29,
        adapter="densenet",
    ),
    "densenet169": Backbone(
        stages=_densenet(6, 12, 32, 32),
        file="densenet169-b2777c0a.pth",
        min_size=29,
        adapter="densenet",
    ),
    "densenet201": Backbone(
        stages=_densenet(6, 12, 48, 32),
        file="densenet201-c1103571.pth",
        min_size=29,
        adapter="densenet",
    ),
    "inception_v3": Backbone(
        stages=(
            (
                "transform_input",
                *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
                *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
            ),
            ("Mixed_5b", "Mixed_5c", "Mixed_5d"),
            ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
            ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
        ),
        file="inception_v3_google-0cc3c7bd.pth",
        min_size=75,
        adapter="inception",
        # As with the weights. Unless told, torchvision warns that it will draw no initial ones.
        arguments={"transform_input": True, "aux_logits": True, "init_weights": True},
    ),
    "vgg16": Backbone(
        stages=_chain("features", 10, 7, 7, 7),
        file="vgg16-397923af.pth",
        min_size=32,
    ),
    "vgg16_bn": Backbone(
        stages=_chain("features", 14, 10, 10, 10),
        file="vgg16_bn-6c64b313.pth",
        min_size=32,
    ),
    "squeezenet1_1": Backbone(
        stages=_chain("features", 3, 3, 3, 4),
        file="squeezenet1_1-b8a52dc0.pth",
        min_size=17,
    ),
    "mobilenet_v2": Backbone(
        stages=_chain("features", 4, 3, 7, 5),
        file="mobilenet_v2-7ebf99e0.pth",
        weights="IMAGENET1K_V2",  # the file that is at hand
    ),
    "mobilenet_v3_small": Backbone(
        stages=_chain("features", 2, 2, 5, 4),
        file="mobilenet_v3_small-047dcff4.pth",
    ),
    "mobilenet_v3_large": Backbone(
        stages=_chain("features", 4, 3, 6, 4),
        file="mobilenet_v3_large-8738ca79.pth",
    ),
    "shufflenet_v2_x1_0": Backbone(
        stages=(
            ("conv1", "maxpool"),
            _numbered("stage2.", range(4)),
            _numbered("stage3.", range(8)),
            (*_numbered("stage4.", range(4)), "conv5"),
        ),
        file="shufflenetv2_x1-5666bf0f80.pth",
    ),
    "mnasnet1_0": Backbone(
        stages=_stacks("layers", (*(0,) * 8, 3), (3,), (3, 2), (4, 1, 0, 0, 0)),
        file="mnasnet1.0_top1_73.512-f206786ef8.pth",
    ),
    "efficientnet_b0": Backbone(
        stages=_stacks("features", (0, 1, 2), (2,), (3, 3), (4, 1, 0)),
        file="efficientnet_b0_rwightman-7f5810bc.pth",
        interpolation="bicubic",
    ),
    "efficientnet_b3": Backbone(
        stages=_stacks("features", (0, 2, 3), (3,), (5, 5), (6, 2, 0)),
        file="efficientnet_b3_rwightman-b3899882.pth",
        interpolation="bicubic",
    ),
    "efficientnet_v2_s": Backbone(
        stages=_stacks("features", (0, 2, 4), (4,), (6, 9), (15, 0)),
        file="efficientnet_v2_s-dd5fe13b.pth",
    ),
    "regnet_y_400mf": Backbone(
        stages=(
            ("stem", "trunk_output.block1.block1-0"),
            _numbered("trunk_output.block2.block2-", range(3)),
            _numbered("trunk_output.block3.block3-", range(6)),
            _numbered("trunk_output.block4.block4-", range(6)),
        ),
        file="regnet_y_400mf-c65dace8.pth",
    ),
    "convnext_tiny": Backbone(
        stages=_convnext(3, 3, 9, 3),
        file="convnext_tiny-983f1562.pth",
        min_size=32,
    ),
    "convnext_small": Backbone(
        stages=_convnext(3, 3, 27, 3),
        file="convnext_small-0c510722.pth",
        min_size=32,
    ),
    "swin_t": Backbone(
        stages=_SWIN_TINY,
        file="swin_t-704ceda3.pth",
        interpolation="bicubic",
        min_size=4,
    ),
    "swin_v2_t": Backbone(
        stages=_SWIN_TINY,
        file="swin_v2_t-b137f0e2.pth",
        interpolation="bicubic",
        min_size=4,
    ),
    "vit_b_16": Backbone(
        stages=(
            ("embedding", *_numbered(_VIT_LAYER, range(3))),
            _numbered(_VIT_LAYER, range(3, 6)),
            _numbered(_VIT_LAYER, range(6, 9)),
            (*_numbered(_VIT_LAYER, range(9, 12)), "encoder.ln"),
        ),
        file="vit_b_16-c867db91.pth",
        min_size=16,
        multiple=16,
        tokens=1,
        adapter="vit",
    ),
}
"""Every backbone that can be used, by torchvision's name."""
