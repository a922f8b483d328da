"""A model of every family learns something from 64 X-rays in two epochs."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xfer.data.dataset import Dataset, load_dataset
from xfer.models.interpolation import interpolation_of
from xfer.models.table import TABLE
from xfer.models.weights import at_hand
from xfer.recipe import ConvNet, Images, Objective, Pretrained, Recipe
from xfer.store import Store
from xfer.train import fit

DATA = os.environ.get("XFER_DATA")
FAMILIES = (
    "resnet18", "densenet121", "inception_v3", "vgg16_bn", "squeezenet1_1", "mobilenet_v2",
    "mobilenet_v3_small", "shufflenet_v2_x1_0", "mnasnet1_0", "efficientnet_b0",
    "regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_16", "convnet",
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(DATA is None, reason="XFER_DATA is not set: no real images"),
]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory) -> Dataset:
    images = Images(str(Path(DATA or "") / "chest_xray"), positive="PNEUMONIA", size=80, channels=1)
    store = Store(tmp_path_factory.mktemp("store"))
    data, _ = load_dataset(images, store=store, interpolations=("bilinear", "bicubic"))
    few = {
        part: np.concatenate([rows[data.labels[rows] == label][:32] for label in (0, 1)])
        for part, rows in data.splits.items()
    }
    assert len(few["train"]) == 64
    return replace(data, splits=few)


def test_every_family_of_the_table_is_tried():
    first_letters = re.compile("[a-z]+")
    tried = {first_letters.match(name)[0] for name in FAMILIES}
    assert {first_letters.match(name)[0] for name in TABLE} <= tried


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_falls(name: str, xrays: Dataset) -> None:
    model = ConvNet(kernels=(8, 16, 32), batch_norm=True)
    if name != "convnet":
        weights = "imagenet" if at_hand(name) else "none"
        model = Pretrained(name, unfreeze_depth=4, batch_norm="train", weights=weights)
    recipe = Recipe(model=model, lr=3e-4, batch_size=16, epochs=2)
    data = xrays.interpolated(interpolation_of(model))
    first, second = fit(recipe, data, Objective("auroc"), seed=0)
    assert second.train["loss"] < first.train["loss"]
