"""An ensemble's members: who is trained on what, each as if alone, and how they answer together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import CPU, OBJECTIVE, run, tiny_data, tiny_recipe, without_seconds

from xfer.balance import member_places
from xfer.evaluate.thresholds import choose_threshold
from xfer.export import export, load_exported
from xfer.logits import predict_logits
from xfer.models.assembly import assemble, skeleton
from xfer.models.described import describe
from xfer.numerics import seed_of
from xfer.recipe import (
    Augment,
    ConvNet,
    FixedThreshold,
    Head,
    HeadFirst,
    Images,
    Objective,
    Pretrained,
    Recipe,
)
from xfer.seen import draw_orders, to_images
from xfer.steps import Training
from xfer.train import fit

PLAIN = tiny_recipe(model=ConvNet(kernels=(4,), batch_norm=True), head=Head(), batch_size=6)
ENSEMBLE = replace(PLAIN, balance="ensemble", ensemble_parts=3)
SQUEEZE = Pretrained("squeezenet1_1", unfreeze_depth=1, weights="none")


def unequal_data(rare=5, common=17, **more):
    """Of two classes, so many training images."""
    data = tiny_data(train=2 * common, **more)
    rows = data.splits["train"]
    kept = np.r_[rows[data.labels[rows] == 0][:rare], rows[data.labels[rows] == 1]]
    return replace(data, splits={**data.splits, "train": np.sort(kept)})


def net_of(recipe, *, size=16):
    return assemble(recipe, classes=2, size=size, channels=1, seed=0)


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=4),
    members=st.integers(2, 16),
    seed=st.integers(0, 2**32),
)
def test_parts_are_even_none_is_smaller_than_the_rarest_class_and_together_they_are_all(
    counts, members, seed
):
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(counts)), counts))
    found = member_places(labels, members, np.random.default_rng(seed))
    assert len(found) == members
    assert set(np.concatenate(found)) == set(range(len(labels)))
    for label, count in enumerate(counts):
        own = [tuple(places[labels[places] == label]) for places in found]
        parts = set(own)
        assert len(parts) == min(members, count // min(counts))
        assert sum(map(len, parts)) == count, "no image is in two parts"
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(counts)
        shared = [own.count(part) for part in parts]
        assert max(shared) - min(shared) <= 1, "parts are dealt out evenly"
    again = member_places(labels, members, np.random.default_rng(seed))
    assert all((one == other).all() for one, other in zip(found, again, strict=True))


def test_who_is_trained_on_what_hangs_on_the_runs_seed_and_not_on_the_epoch():
    data = unequal_data()
    rows = data.splits["train"]

    def trained_on(*, seed, epoch):
        orders = draw_orders(
            ENSEMBLE, rows, data.labels[rows], np.random.default_rng(epoch), seed=seed
        )
        return [sorted(order.rows.tolist()) for order, _ in orders]

    assert trained_on(seed=0, epoch=1) == trained_on(seed=0, epoch=2)
    assert trained_on(seed=0, epoch=1) != trained_on(seed=1, epoch=1)


@pytest.mark.parametrize("augment", [Augment(), Augment.light()], ids=lambda a: a.mode)
def test_every_member_is_trained_as_if_it_were_alone_bit_for_bit(augment):
    """Penalties, clipping, batch statistics and the order of images are each one's own."""
    data = unequal_data(rare=5, common=19)
    rows, labels = data.splits["train"], data.labels[data.splits["train"]]
    ensemble = replace(
        ENSEMBLE, augment=augment, batch_size=4, l1=1e-3, l2=1e-3, clip_norm=0.5, lr=0.05
    )
    together = Training(ensemble, net_of(ensemble), data, epochs=1, device=CPU, seed=9)
    orders = draw_orders(ensemble, rows, labels, np.random.default_rng(1), seed=9)
    assert len({-(-len(order.rows) // 4) for order, _ in orders}) == 1
    together.epoch(1, np.random.default_rng(1), losses=[])
    generator = np.random.default_rng(1)
    for member, (order, _) in enumerate(orders):
        seed = seed_of(0, member) % 2**32 if member else 0
        plain = replace(ensemble, balance="none")
        net = assemble(plain, classes=2, size=16, channels=1, seed=seed)
        own = replace(data, splits={**data.splits, "train": np.sort(order.rows)})
        alone = Training(plain, net, own, epochs=1, device=CPU, seed=9)
        alone.epoch(1, generator, losses=[])
        there = [part for part in together.net.parts() if part.member == member]
        assert [part.name for part in there] == [part.name for part in net.parts()]
        for one, other in zip(there, net.parts(), strict=True):
            for a, b in zip(one.parameters.values(), other.parameters.values(), strict=True):
                assert torch.equal(a, b)


def test_a_member_that_has_a_batch_less_sits_out_the_last_step():
    data = unequal_data(rare=5, common=19)  # with 7, 6 and 6 common ones: 12, 11 and 11 images
    recipe = replace(ENSEMBLE, batch_size=11, model=ConvNet(kernels=(4,)))
    steps = []
    for each in (recipe, replace(recipe, batch_size=10)):
        training = Training(each, net_of(each), data, epochs=1, device=CPU)
        seen = []
        training.optimizer.register_step_pre_hook(
            lambda *_, training=training, seen=seen: seen.append(
                [part.member for part in training.net.parts() if part.name == "head"
                 and all(p.grad is not None for p in part.parameters.values())]
            )
        )  # fmt: skip
        training.epoch(1, np.random.default_rng(0), losses=[])
        steps.append(seen)
    # A last batch of one joins the one before.
    assert steps[0] == [[0, 1, 2]]
    assert steps[1] == [[0, 1, 2], [0]]


def test_members_begin_with_weights_of_their_own_and_the_first_with_those_of_the_recipe_alone():
    net, plain = net_of(ENSEMBLE), net_of(PLAIN)
    for name, values in plain.state_dict().items():
        assert torch.equal(net.state_dict()[name], values)
    kernels = [part.parameters for part in net.parts() if part.name == "backbone"]
    heads = [part.parameters for part in net.parts() if part.name == "head"]
    for parts in (kernels, heads):
        first = [next(iter(parameters.values())) for parameters in parts]
        assert len(first) == 3
        assert not any(torch.equal(a, b) for a, b in [first[:2], first[1:], first[::2]])


def test_answers_are_the_mean_of_the_members_probabilities():
    data, net = tiny_data(), net_of(ENSEMBLE).eval()
    images = to_images(data.pixels, CPU)
    with torch.inference_mode():
        features = net.prefix(images)
        each = [net.suffix_of(member, features).softmax(dim=1) for member in range(3)]
        found = net(images).softmax(dim=1)
    torch.testing.assert_close(found, sum(each) / 3, rtol=1e-5, atol=1e-7)
    assert (each[0] - each[1]).abs().max() > 1e-3


@pytest.mark.parametrize("model", [SQUEEZE, replace(SQUEEZE, unfreeze_depth=0)])
def test_what_is_frozen_is_there_once_and_what_is_trained_once_for_each_member(model):
    plain = Recipe(model=model, lr=1e-3)
    ensemble = replace(plain, balance="ensemble", ensemble_parts=4)
    one, four = (describe(r, classes=2, size=64, channels=3) for r in (plain, ensemble))
    assert four.trainable == 4 * one.trainable
    assert four.parameters - four.trainable == one.parameters - one.trainable
    assert four.prefix_madds == one.prefix_madds
    assert four.suffix_madds == 4 * one.suffix_madds
    assert four.features == one.features


def test_an_ensemble_of_two_phases_goes_on_as_if_never_interrupted(tmp_path):
    first = HeadFirst(epochs=1, lr=0.03)
    recipe = Recipe(model=SQUEEZE, lr=1e-3, batch_size=8, head_first=first, epochs=2)
    recipe = replace(recipe, balance="ensemble", ensemble_parts=2)
    data = unequal_data(size=32)
    expected = without_seconds(run(recipe, data))
    steps = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path, device=CPU)
    next(steps)
    steps.close()
    assert without_seconds(run(recipe, data, checkpoint=tmp_path)) == expected


def test_in_the_first_phase_only_heads_move_then_all_members():
    recipe = Recipe(model=SQUEEZE, lr=1e-2, batch_size=8, head_first=HeadFirst(epochs=1, lr=0.1))
    recipe = replace(recipe, balance="ensemble", ensemble_parts=2)
    net = net_of(recipe, size=32)
    training = Training(recipe, net, unequal_data(size=32), epochs=2, device=CPU)
    moved = []
    for epoch in (1, 2):
        before = {name: values.clone() for name, values in net.state_dict().items()}
        training.epoch(epoch, np.random.default_rng(epoch), losses=[])
        moved.append({n for n, v in net.state_dict().items() if not torch.equal(v, before[n])})
    assert {name.rsplit(".", 2)[0] for name in moved[0]} == {"head", "others.0.head"}
    assert moved[1] == set(net.changing())
    assert any(name.startswith("others.0.blocks") for name in moved[1])
    assert len(net.changing()) == sum(len(part.parameters) for part in net.parts())


@pytest.mark.parametrize("model", [PLAIN.model, SQUEEZE], ids=["convnet", "squeezenet"])
def test_an_exported_ensemble_answers_the_same(tmp_path, model):
    recipe = replace(ENSEMBLE, model=model)
    data = tiny_data(size=32, channels=3)
    net = assemble(recipe, classes=2, size=32, channels=3, seed=3)
    scores, labels = np.linspace(0, 1, 40), np.repeat([0, 1], 20)
    threshold = choose_threshold(FixedThreshold(0.5), Objective("auroc"), scores, labels)
    shipped = ShippedData(data.labels, data.splits)
    export(tmp_path / "best", net, recipe, shipped, threshold=threshold, metrics={})
    again = load_exported(tmp_path / "best")
    rows = data.splits["val"]
    expected = predict_logits(net, data.pixels, rows, device=CPU)
    assert torch.equal(predict_logits(again.net, data.pixels, rows, device=CPU), expected)


class ShippedData:
    """What an export reads of a dataset."""

    images = Images("somewhere", positive="ill", size=32)
    interpolation = "bilinear"
    classes = ("well", "ill")
    positive = 1

    def __init__(self, labels, splits):
        self.labels, self.splits = labels, {**splits, "test": splits["val"]}


def test_without_an_ensemble_a_nets_tensors_have_the_names_they_always_had():
    with torch.device("meta"):
        net = skeleton(PLAIN, classes=2, size=16, channels=1)
    assert {name.split(".")[0] for name in net.state_dict()} == {"normalise", "backbone", "head"}
