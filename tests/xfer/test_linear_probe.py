"""The linear probe: scikit-learn's regression on pooled features, chosen on validation."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.xfer.tiny_data import tiny_data
from xfer.data import load_dataset
from xfer.evaluate.cuts import auroc, make_cuts
from xfer.linear_probe import probe, smallest
from xfer.models.weights import at_hand
from xfer.recipe import Images
from xfer.store import Store

real = pytest.mark.skipif(
    "XFER_DATA" not in os.environ or not at_hand("squeezenet1_1"),
    reason="XFER_DATA is not set, or squeezenet1_1's weights are not on this machine",
)


def labelled(train=60, val=30):
    data = tiny_data(train=train, val=val, size=64, channels=3)
    data.splits["test"] = data.splits["val"][::2]
    return data


def asked(data, **changed):
    return probe(
        data, "squeezenet1_1", asked=("val", "test"), device="cpu", weights="none", **changed
    )


def test_every_part_that_is_asked_has_probabilities():
    data = labelled()
    found = asked(data)
    assert set(found.probabilities) == {"val", "test"}
    assert found.probabilities["test"].shape == (15, 2)
    np.testing.assert_allclose(found.probabilities["test"].sum(axis=1), 1)
    # Convolutions of another batch differ in their last bits.
    same = pytest.approx(found.probabilities["val"][::2], abs=1e-4)
    assert found.probabilities["test"] == same


def test_even_a_random_backbone_tells_bright_squares_apart():
    data = labelled()
    found = asked(data).probabilities["val"][:, 1]
    assert auroc(make_cuts(found, data.labels[data.splits["val"]] == 1)) > 0.65


def test_no_label_of_a_part_that_is_only_asked_matters():
    data = labelled()
    data.splits["test"] = np.arange(80, 90)
    data.splits["val"] = np.arange(60, 80)
    before = asked(data).probabilities["test"]
    data.labels[80:] = 1 - data.labels[80:]
    np.testing.assert_array_equal(asked(data).probabilities["test"], before)


def test_the_smallest_backbone_is_the_cheapest_that_takes_the_size():
    assert (
        smallest(["resnet18", "mobilenet_v2", "squeezenet1_1"], size=224, channels=3)
        == "squeezenet1_1"
    )
    assert smallest(["resnet18", "vit_b_16"], size=100, channels=3) == "resnet18"
    assert smallest(["vit_b_16"], size=100, channels=3) is None
    assert smallest([], size=100, channels=3) is None


@real
def test_on_chest_x_rays_it_is_hard_to_beat(tmp_path):
    images = Images(
        str(Path(os.environ["XFER_DATA"]) / "chest_xray"), positive="PNEUMONIA", size=96, channels=1
    )
    data, _ = load_dataset(images, store=Store(tmp_path))
    found = probe(data, "squeezenet1_1", asked=("val",), device="cpu").probabilities["val"][:, 1]
    assert auroc(make_cuts(found, data.labels[data.splits["val"]] == 1)) > 0.95
