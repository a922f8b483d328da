"""What a frozen prefix makes of images is made once, found again, and changes no result."""

import multiprocessing
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.xfer.kept_data import (
    HEAD_FIRST,
    draw_weights,
    features,
    frozen_recipe,
    home_with,
    kept_data,
    net_of,
    stored,
    told,
    total,
    trained,
)
from tests.xfer.tiny_data import CPU
from xfer.checkpoint import read_best
from xfer.features import Asked, Counts
from xfer.models.backbone import random_state
from xfer.models.weights import weights_file
from xfer.prefix import Cut, cuts_of, run_prefix
from xfer.recipe import Augment, Head, Pretrained
from xfer.store import Store

NAME = "squeezenet1_1"


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory):
    with home_with(tmp_path_factory.mktemp("home"), NAME, "resnet18", "mobilenet_v2"):
        yield


@pytest.fixture
def data(tmp_path):
    return kept_data(tmp_path / "store")


RECIPES = {
    "the head alone": frozen_recipe(),
    "a positional head": frozen_recipe(head=Head(pool="positional", dense=(4,))),
    "the last stage": frozen_recipe(depth=1),
    "three stages, norms too": frozen_recipe(
        model=Pretrained("mobilenet_v2", unfreeze_depth=3, batch_norm="train")
    ),
    "the head first": HEAD_FIRST,
    "three views of each": frozen_recipe(augment=Augment("views", views=3, rotation=20)),
    "fresh changes": frozen_recipe(augment=Augment.light()),
    "an ensemble": frozen_recipe(depth=1, balance="ensemble", ensemble_parts=2),
    "rare ones again": frozen_recipe(balance="oversample"),
    "rare ones again, changed": frozen_recipe(
        balance="oversample_augmented", augment=Augment.light()
    ),
    "batches that do not divide 32": frozen_recipe(batch_size=7),
    "large batches": frozen_recipe(batch_size=48),
    "a backbone cut inside of a block": frozen_recipe(
        model=Pretrained("resnet18", cut_after="layer2.0.add")
    ),
}


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        *((name, False) for name in RECIPES),
        ("the head alone", True),
        ("the last stage", True),
        *(
            pytest.param(name, True, marks=pytest.mark.slow)
            for name in RECIPES
            if name not in ("the head alone", "the last stage")
        ),
    ],
)
def test_three_epochs_are_equal_bit_for_bit_with_and_without_the_store(data, name, exact, tmp_path):
    recipe = RECIPES[name]
    data.labels[:] = np.arange(len(data.labels)) % 3 == 0  # classes of unequal size
    computed = trained(recipe, data, features(data, pays=False, exact=exact),
                       checkpoint=tmp_path / "computed")  # fmt: skip
    assert total(computed, "hits") == 0
    for round_, folder in enumerate(("first", "second")):
        kept = trained(recipe, data, features(data, exact=exact), checkpoint=tmp_path / folder)
        assert told(kept) == told(computed)
        assert total(kept, "hits") > 0
        fresh = recipe.augment.mode == "fresh"
        assert fresh or bool(total(kept, "forwards")) == (round_ == 0)
        np.testing.assert_array_equal(
            read_best(tmp_path / folder).logits, read_best(tmp_path / "computed").logits
        )


def test_without_a_store_at_all_results_are_those_of_rounded_rows(data):
    recipe = frozen_recipe(depth=1)
    assert told(trained(recipe, data, None)) == told(trained(recipe, data, features(data)))


def test_forwards_are_distinct_images_times_views(data):
    recipe = RECIPES["three views of each"]
    results = trained(recipe, data, features(data))
    assert total(results, "forwards") == 24 * 3 + 16
    assert total(results, "hits") == 3 * (24 * 3 + 16)
    more = replace(recipe, augment=replace(recipe.augment, views=4))
    assert total(trained(more, data, features(data)), "forwards") == 24


def test_other_labels_parts_heads_and_rates_find_all_of_it(data):
    trained(frozen_recipe(), data, features(data))
    other = replace(
        data,
        labels=1 - data.labels,
        splits={"train": np.arange(20, 40), "val": np.arange(20)},
        classes=("a", "b"),
    )
    recipe = frozen_recipe(head=Head(dense=(8,), dropout=0.5), lr=1e-2, optimizer="sgd")
    assert total(trained(recipe, other, features(data)), "forwards") == 0


def test_new_images_are_added_and_old_ones_found(tmp_path):
    some = kept_data(tmp_path / "store", train=24, val=16)
    trained(frozen_recipe(), some, features(some))
    more = kept_data(tmp_path / "store", train=30, val=16)
    known = len(set(some.image_digests) & set(more.image_digests))
    assert total(trained(frozen_recipe(), more, features(more)), "forwards") == 46 - known


def test_a_changed_pixel_misses_for_its_image_alone(data, tmp_path):
    trained(frozen_recipe(), data, features(data))
    pixels = data.pixels[np.arange(40)]
    pixels[3, 5, 5, 0] ^= 1
    changed = stored(tmp_path / "store", pixels, data)
    assert total(trained(frozen_recipe(), changed, features(changed)), "forwards") == 1


def test_a_changed_weight_misses_where_it_is_in_the_prefix(data, monkeypatch, tmp_path):
    trained(frozen_recipe(), data, features(data))
    trained(frozen_recipe(depth=1), data, features(data))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other"))
    draw_weights(NAME)
    path = weights_file(NAME).path
    state = torch.load(path, weights_only=True)
    state["features.12.squeeze.weight"][0, 0, 0, 0] += 1e-6  # in the last stage
    torch.save(state, path)
    assert total(trained(frozen_recipe(depth=1), data, features(data)), "forwards") == 0
    assert total(trained(frozen_recipe(), data, features(data)), "forwards") == 40


@pytest.mark.parametrize("what", ["mean", "std"])
def test_another_normalisation_misses(data, what):
    recipe = frozen_recipe()
    net = net_of(recipe)
    rows, none = np.arange(40), np.arange(0)
    counts = [Counts(), Counts()]
    features(data).of(net, recipe, rows, none, seed=0, counts=counts[0])
    getattr(net.normalise, what)[0] += 1e-3
    features(data).of(net, recipe, rows, none, seed=0, counts=counts[1])
    assert [each.forwards for each in counts] == [40, 40]


def test_pixels_that_were_resized_otherwise_miss(data, tmp_path):
    recipe = frozen_recipe()
    trained(recipe, data, features(data))
    pixels = data.pixels[np.arange(40)]
    other = Store(tmp_path / "store").fill(
        {"what": "tiny", "interpolation": "bicubic"},
        data.image_digests,
        lambda missing: ((place, pixels[place]) for place in missing),
        shape=pixels.shape[1:],
    )
    bicubic = replace(data, pixels=other)
    assert total(trained(recipe, bicubic, features(bicubic)), "forwards") == 40


def test_all_cuts_that_are_asked_for_are_made_in_one_pass(data):
    recipes = [frozen_recipe(depth=depth) for depth in (2, 1, 0)]
    asked = frozenset(
        Asked(backbone=NAME, cut_after=None, cut=cut)
        for recipe in recipes
        for cut in cuts_of(recipe, size=64, channels=3)
    )
    assert len(asked) == 3
    forwards = [
        total(trained(recipe, data, features(data, asked=asked)), "forwards") for recipe in recipes
    ]
    assert forwards == [40, 0, 0]


def test_what_is_made_along_with_another_cut_is_what_would_be_made_alone(data, tmp_path):
    shallow, deep = frozen_recipe(depth=2), frozen_recipe(depth=1)
    asked = frozenset(
        Asked(backbone=NAME, cut_after=None, cut=cut)
        for recipe in (shallow, deep)
        for cut in cuts_of(recipe, size=64, channels=3)
    )
    trained(shallow, data, features(data, asked=asked))
    along = trained(deep, data, features(data, asked=asked))
    assert total(along, "forwards") == 0
    alone = kept_data(tmp_path / "alone")
    assert told(along) == told(trained(deep, alone, features(alone)))


def test_exact_rows_of_a_deeper_cut_begin_with_those_of_a_shallower_one(data):
    shallow, deep = frozen_recipe(depth=2), frozen_recipe(depth=1)
    asked = frozenset(
        Asked(backbone=NAME, cut_after=None, cut=cut)
        for cut in cuts_of(shallow, size=64, channels=3)
    )
    trained(shallow, data, features(data, exact=True))
    blind = replace(data.pixels, chunk=np.full(40, -1, dtype=np.int32))  # none can be read any more
    data_of_cut = features(replace(data, pixels=data.pixels), exact=True, asked=asked)
    data_of_cut.pixels = blind
    net = net_of(deep)
    counts = Counts()
    rows = data_of_cut.of(net, deep, np.arange(40), np.arange(0), seed=0, counts=counts)
    assert counts.forwards == 40
    given = images_of(data)
    assert torch.equal(
        rows.take(np.arange(40), np.zeros(40, dtype=np.int64)), run_prefix(net, given, exact=True)
    )


def images_of(data):
    return torch.from_numpy(data.pixels[np.arange(len(data.labels))]).permute(0, 3, 1, 2)


def test_random_weights_and_what_is_read_as_quickly_as_computed_are_not_kept(data):
    drawn = frozen_recipe(model=Pretrained(NAME, weights="none"))
    assert total(trained(drawn, data, features(data)), "hits") == 0
    assert total(trained(frozen_recipe(), data, features(data, pays=False)), "hits") == 0
    assert len(Store(data.pixels.root).entries()) == 1  # the pixels


def test_where_there_is_no_room_results_are_the_same_and_it_is_said(data, caplog):
    recipe = frozen_recipe(depth=1)
    budget = sum(entry.bytes for entry in Store(data.pixels.root).entries()) + 10_000
    results = trained(recipe, data, features(data, budget_bytes=budget))
    assert total(results, "hits") == 0
    assert total(results, "forwards") == 3 * 40
    assert "computed each time anew" in caplog.text
    assert told(results) == told(trained(recipe, data, features(data)))


def test_of_several_cuts_only_the_own_is_kept_where_there_is_no_room_for_all(data):
    recipe = frozen_recipe()
    asked = frozenset({Asked(backbone=NAME, cut_after=None, cut=Cut(blocks=3, pool=None))})
    used = sum(entry.bytes for entry in Store(data.pixels.root).entries())
    results = trained(recipe, data, features(data, asked=asked, budget_bytes=used + 150_000))
    assert total(results, "hits") == 3 * 40


def test_rows_that_half_precision_does_not_hold_are_kept_whole(data, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "large"))
    state = random_state(NAME, seed=1)
    state["features.12.expand1x1.weight"] *= 1e7  # beyond 65,504
    path = weights_file(NAME).path
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    recipe = frozen_recipe(lr=1e-9)
    computed = trained(recipe, data, features(data, pays=False))
    kept = trained(recipe, data, features(data))
    assert told(kept) == told(computed)
    assert total(kept, "hits") == 3 * 40
    kinds = [entry.says.get("what") for entry in Store(data.pixels.root).entries()]
    assert "too coarse" in kinds
    again = trained(recipe, data, features(data))
    assert total(again, "forwards") == 0


def test_sealed_images_are_refused(data):
    sealed = replace(data, image_digests=(*data.image_digests[:39], ""))
    with pytest.raises(ValueError, match="sealed"):
        trained(frozen_recipe(), sealed, features(sealed))


def test_rows_that_were_not_made_are_refused(data):
    recipe = frozen_recipe()
    kept = features(data).of(
        net_of(recipe), recipe, np.arange(10), np.arange(0), seed=0, counts=Counts()
    )
    with pytest.raises(IndexError, match="has none"):
        kept.take(np.array([3, 12]), np.zeros(2, dtype=np.int64))
    with pytest.raises(IndexError, match="view 1"):
        kept.take(np.array([3]), np.ones(1, dtype=np.int64))


def count_forwards(root, home):
    os.environ["TORCH_HOME"] = home
    torch.set_num_threads(1)
    data = kept_data(root)
    return total(trained(frozen_recipe(epochs=1), data, features(data)), "forwards")


@pytest.mark.slow  # each of them loads torch
def test_several_processes_make_every_row_once(tmp_path):
    kept_data(tmp_path / "store")
    asked = [(tmp_path / "store", os.environ["TORCH_HOME"])] * 3
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert sum(pool.starmap(count_forwards, asked)) == 40


def test_the_device_of_rows_is_that_of_the_net(data):
    recipe = frozen_recipe()
    kept = features(data).of(
        net_of(recipe), recipe, np.arange(40), np.arange(0), seed=0, counts=Counts()
    )
    assert kept.take(np.arange(2), np.zeros(2, dtype=np.int64)).device == CPU
