"""How are images to be resized for this model? As its weights were trained; no torch."""

from __future__ import annotations

from xfer.models.limits import backbone_named
from xfer.models.table import Interpolation
from xfer.recipe import ConvNet, Pretrained


def interpolation_of(model: ConvNet | Pretrained) -> Interpolation:
    """Of images for this model: a backbone's own, also from random weights; else bilinear.

    Raises:
        RecipeError: there is no such backbone.

    >>> [interpolation_of(Pretrained(name)) for name in ("resnet18", "swin_t")]
    ['bilinear', 'bicubic']
    """
    return "bilinear" if isinstance(model, ConvNet) else backbone_named(model.name).interpolation
