"""One step after another: what is minimised, what is told, and at what rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_data import CPU, run, tiny_data, tiny_recipe
from torch.nn.functional import cross_entropy, log_softmax, one_hot, softmax

from xfer.logits import predict_logits
from xfer.models.assembly import assemble
from xfer.recipe import Augment, ConvNet, Head, Recipe, Schedule
from xfer.schedules import plateaus
from xfer.seen import to_images
from xfer.steps import Training

PLAIN = {"model": ConvNet(kernels=(4, 8)), "head": Head(dense=(6,)), "optimizer": "sgd"}
"""Without norms, dropout and momentum, a step of all images can be written by hand."""


def one_step(recipe: Recipe, data):
    """A net before and after a step of SGD with all images, and what the epoch told."""
    recipe = replace(recipe, momentum=0.0, batch_size=len(data.splits["train"]))
    before, after = (assemble(recipe, classes=3, size=16, channels=1, seed=0) for _ in range(2))
    training = Training(recipe, after, data, epochs=1, device=CPU)
    told = training.epoch(1, np.random.default_rng(0), losses=[])
    return before, after, told


def moved(before, after) -> dict[str, torch.Tensor]:
    named = dict(before.named_parameters())
    return {name: p.detach() - named[name].detach() for name, p in after.named_parameters()}


def logits_of(net, data):
    rows = data.splits["train"]
    return net(to_images(data.pixels[rows], CPU)), torch.from_numpy(data.labels[rows])


def test_smoothed_labels_are_minimised_and_the_plain_loss_is_told():
    """Szegedy et al., "Rethinking the Inception Architecture", 2016, section 7."""
    data, share = tiny_data(classes=3), 0.3
    before, after, told = one_step(tiny_recipe(**PLAIN, lr=0.5, label_smoothing=share), data)
    logits, labels = logits_of(before, data)
    wanted = (1 - share) * one_hot(labels, 3) + share / 3
    (-wanted * log_softmax(logits, dim=1)).sum(dim=1).mean().backward()
    for name, change in moved(before, after).items():
        expected = -0.5 * before.get_parameter(name).grad
        torch.testing.assert_close(change, expected, rtol=1e-3, atol=1e-6)
    assert told["loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)


def test_the_loss_on_validation_is_plain_too():
    data = tiny_data()
    still = tiny_recipe(lr=1e-9, epochs=1)  # nothing moves, so both see the same net
    (plain,), (smoothed,) = run(still, data), run(replace(still, label_smoothing=0.9), data)
    assert smoothed.val["loss"] == pytest.approx(plain.val["loss"], rel=1e-5)
    assert smoothed.train["loss"] == pytest.approx(plain.train["loss"], rel=1e-5)


def test_a_step_is_as_long_as_the_clipped_gradient():
    data = tiny_data(classes=3)
    free, clipped = (
        moved(*one_step(tiny_recipe(**PLAIN, lr=0.5, l1=0.1, clip_norm=norm), data)[:2])
        for norm in (None, 0.01)
    )
    length = {name: torch.cat([c.flatten() for c in each.values()]).norm() for name, each in
              (("free", free), ("clipped", clipped))}  # fmt: skip
    assert length["free"] > 0.5 * 0.01
    assert length["clipped"] == pytest.approx(0.5 * 0.01, rel=1e-3)
    for name in free:  # in the same direction
        torch.testing.assert_close(
            clipped[name] / length["clipped"], free[name] / length["free"], rtol=1e-2, atol=1e-4
        )


@pytest.mark.parametrize("on", ["all", "convolutions"])
def test_l1_pulls_what_it_is_said_to_be_on(on):
    data, l1 = tiny_data(classes=3), 0.01
    before, after, _ = one_step(tiny_recipe(**PLAIN, lr=0.5, l1=l1, l1_on=on), data)
    _, without, _ = one_step(tiny_recipe(**PLAIN, lr=0.5), data)
    pulls, plain = moved(before, after), moved(before, without)
    for name, parameter in before.named_parameters():
        acts = name.endswith("weight") and (on == "all" or name.startswith("backbone"))
        expected = -0.5 * l1 * parameter.detach().sign() if acts else torch.zeros_like(parameter)
        torch.testing.assert_close(pulls[name] - plain[name], expected, rtol=1e-4, atol=1e-6)


def unequal(data):
    """Of the data's training part, all images of one class and some of the others."""
    rows = data.splits["train"]
    kept = rows[(data.labels[rows] == 0) | (np.arange(len(rows)) % 4 == 0)]
    return replace(data, splits={**data.splits, "train": kept})


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balance", ["class_weights", "focal"])
def test_weights_and_focal_factors_multiply_each_images_loss(balance, smoothing):
    data, gamma = unequal(tiny_data(classes=3)), 1.5
    recipe = tiny_recipe(
        **PLAIN, lr=0.5, balance=balance, focal_gamma=gamma, label_smoothing=smoothing
    )
    before, after, told = one_step(recipe, data)
    logits, labels = logits_of(before, data)
    counts = torch.bincount(labels)
    assert len(set(counts.tolist())) > 1
    if balance == "focal":
        factors = (1 - softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]) ** gamma
    else:
        factors = (len(labels) / (3 * counts))[labels]
    wanted = (1 - smoothing) * one_hot(labels, 3) + smoothing / 3
    (factors * -(wanted * log_softmax(logits, dim=1)).sum(dim=1)).mean().backward()
    for name, change in moved(before, after).items():
        expected = -0.5 * before.get_parameter(name).grad
        torch.testing.assert_close(change, expected, rtol=1e-3, atol=1e-6)
    assert told["loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)


def test_class_weights_hold_in_a_batch_of_one_class():
    """Divided by their sum, as cross_entropy would, they would cancel out in it."""
    data = unequal(tiny_data(classes=3))
    recipe = tiny_recipe(**PLAIN, lr=0.5, momentum=0.0, batch_size=1)
    rows = data.splits["train"]
    first = np.random.default_rng(0).permutation(rows)[0]
    steps = []
    for balance in ("none", "class_weights"):
        net = assemble(recipe, classes=3, size=16, channels=1, seed=0)
        training = Training(replace(recipe, balance=balance), net, data, epochs=1, device=CPU)
        grads = []
        training.optimizer.register_step_pre_hook(
            lambda *_, net=net, grads=grads: grads.append(net.head.outputs.bias.grad.clone())
        )
        training.epoch(1, np.random.default_rng(0), losses=[])
        steps.append(grads[0])
    labels = data.labels[rows]
    weight = len(labels) / (3 * (labels == data.labels[first]).sum())
    torch.testing.assert_close(steps[1], weight * steps[0], rtol=1e-4, atol=1e-7)


def seen_by_net(recipe: Recipe, data, *, epochs=1, seed=0, run_seed=0):
    """What the net is given in training, by epoch and step."""
    size, channels = data.pixels.shape[2:]
    net = assemble(recipe, classes=len(data.classes), size=size, channels=channels, seed=0)
    training = Training(recipe, net, data, epochs=epochs, device=CPU, seed=run_seed)
    found: list[list[torch.Tensor]] = []
    net.normalise.register_forward_pre_hook(lambda _, given: found[-1].append(given[0].clone()))
    for epoch in range(1, epochs + 1):
        found.append([])
        training.epoch(epoch, np.random.default_rng([seed, epoch]), losses=[])
    return found


def matches(images, data):
    """For each image the row of the data that it is, bit for bit; -1 where it is none."""
    plain = to_images(data.pixels, CPU).float().div_(255)
    found = []
    for image in images:
        equal = [row for row, candidate in enumerate(plain) if torch.equal(image, candidate)]
        found.append(equal[0] if equal else -1)
    return np.array(found)


AUGMENT = Augment("fresh", rotation=30, noise=0.1)
VIEWS = replace(AUGMENT, mode="views", views=3)
WITH_VIEWS = tiny_recipe(augment=VIEWS)


def test_without_augmentation_the_net_sees_the_pixels_themselves():
    data = tiny_data()
    (steps,) = seen_by_net(tiny_recipe(), data)
    assert all(images.dtype == torch.uint8 for images in steps)


def test_training_images_are_changed_anew_in_every_epoch_and_by_its_generator_alone():
    data = tiny_data()
    recipe = tiny_recipe(augment=AUGMENT, batch_size=24)
    (one,), (two,) = seen_by_net(recipe, data, epochs=2)
    (again,), _ = seen_by_net(recipe, data, epochs=2)
    assert torch.equal(one, again)
    assert (matches(one, data) == -1).all()
    assert not any(torch.equal(image, other) for image in one for other in two)


def test_what_an_image_becomes_depends_neither_on_batch_size_nor_on_other_images():
    data = tiny_data()
    small, large = (
        torch.cat(seen_by_net(tiny_recipe(augment=AUGMENT, batch_size=size), data)[0])
        for size in (5, 24)
    )
    assert torch.equal(small, large)


def test_the_order_of_images_is_the_same_with_and_without_augmentation():
    data = tiny_data()
    barely = Augment("fresh", brightness=1e-9)
    plain, changed = (
        torch.cat(seen_by_net(tiny_recipe(augment=augment), data)[0])
        for augment in (Augment(), barely)
    )
    torch.testing.assert_close(changed, plain.float() / 255, rtol=0, atol=1e-6)


def test_of_an_augmented_oversample_only_what_is_drawn_again_is_changed():
    data = unequal(tiny_data(classes=3, train=36))
    rows = data.splits["train"]
    recipe = tiny_recipe(balance="oversample_augmented", augment=AUGMENT)
    images = torch.cat(seen_by_net(recipe, data)[0])
    found = matches(images, data)
    assert sorted(found[found >= 0]) == rows.tolist()
    missing = 3 * np.bincount(data.labels[rows]).max() - len(rows)
    repeats = images[found == -1]
    assert len(repeats) == missing > 0
    # Also those of the same image differ from each other.
    assert len({image.numpy().tobytes() for image in repeats}) == missing


@pytest.mark.parametrize("balance", ["oversample", "undersample"])
def test_every_showing_of_an_image_that_is_drawn_is_changed_differently(balance):
    data = unequal(tiny_data(classes=3, train=36))
    images = torch.cat(seen_by_net(tiny_recipe(balance=balance, augment=AUGMENT), data)[0])
    assert (matches(images, data) == -1).all()
    assert len({image.numpy().tobytes() for image in images}) == len(images)


def counted(images):
    """How often each image is among them, bit for bit, black and white as 0 and 1."""
    return Counter(image.numpy().tobytes() for image in images)


@pytest.mark.parametrize("views", [2, 5])
def test_an_epoch_trains_on_every_image_itself_and_on_all_its_other_views(views):
    data = tiny_data()
    recipe = tiny_recipe(augment=replace(VIEWS, views=views))
    images = torch.cat(seen_by_net(recipe, data)[0])
    assert len(images) == views * 24
    assert len(counted(images)) == len(images), "no two are alike"
    found = matches(images, data)
    assert sorted(found[found >= 0]) == data.splits["train"].tolist()


def test_views_are_the_same_in_every_epoch_in_another_order():
    one, two = (torch.cat(steps) for steps in seen_by_net(WITH_VIEWS, tiny_data(), epochs=2))
    assert counted(one) == counted(two)
    assert not torch.equal(one, two)


def test_views_depend_on_their_image_alone():
    data = tiny_data()
    one, epochs_other, other, fewer, small = (
        counted(torch.cat(seen_by_net(recipe, data, **seeds)[0]))
        for recipe, seeds in [
            (WITH_VIEWS, {}),
            (WITH_VIEWS, {"seed": 1}),
            (WITH_VIEWS, {"run_seed": 1}),
            (replace(WITH_VIEWS, augment=replace(VIEWS, views=2)), {}),
            (replace(WITH_VIEWS, batch_size=5), {}),
        ]
    )
    assert one == epochs_other == other == small
    assert len(one & fewer) == len(fewer) == 48, "a view is no other one where there are fewer"


@pytest.mark.parametrize(("balance", "images"), [("oversample", 36), ("undersample", 9)])
def test_what_a_balance_draws_comes_with_all_of_its_views(balance, images):
    data = unequal(tiny_data(classes=3, train=36))
    plain = counted(torch.cat(seen_by_net(tiny_recipe(balance=balance), data)[0]).float() / 255)
    seen = torch.cat(seen_by_net(replace(WITH_VIEWS, balance=balance), data)[0])
    assert len(seen) == 3 * images
    found = counted(seen)
    assert plain <= found, "images themselves, as often as without views"
    others = found - plain
    assert sorted(others.values()) == sorted(2 * list(plain.values())), "and each view as often"


@pytest.mark.parametrize("augment", [AUGMENT, VIEWS], ids=lambda augment: augment.mode)
def test_predictions_are_made_on_images_as_they_are(augment):
    data = tiny_data()
    recipe = tiny_recipe(augment=augment)
    net = assemble(recipe, classes=2, size=16, channels=1, seed=0)
    given = []
    net.normalise.register_forward_pre_hook(lambda _, images: given.append(images[0]))
    predict_logits(net, data.pixels, data.splits["val"], device=CPU)
    assert torch.equal(torch.cat(given), to_images(data.pixels[data.splits["val"]], CPU))


@pytest.mark.parametrize("augment", [Augment(), VIEWS], ids=lambda augment: augment.mode)
@pytest.mark.parametrize(
    ("balance", "images"), [("none", 18), ("oversample", 36), ("undersample", 9)]
)
def test_the_schedule_ends_with_the_steps_that_balance_and_views_leave(balance, images, augment):
    data = unequal(tiny_data(classes=3, train=36))  # 12, 3 and 3
    recipe = tiny_recipe(
        schedule=Schedule("one_cycle"), balance=balance, augment=augment, batch_size=3, lr=0.5
    )
    rates = rates_of(recipe, epochs=2, data=data)
    assert len(rates) == 2 * augment.views * images / 3
    assert rates[-1] == pytest.approx(0.5 / 250_000)
    assert sum(rate == rates[-1] for rate in rates) == 1


def rates_of(recipe: Recipe, *, epochs: int, losses=(), data=None):
    """The head's learning rate in every step, as the optimiser has it."""
    data = data or tiny_data(train=12)
    net = assemble(recipe, classes=len(data.classes), size=16, channels=1, seed=0)
    training = Training(recipe, net, data, epochs=epochs, device=CPU)
    rates = []
    training.optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[-1]["lr"])
    )
    for epoch in range(1, epochs + 1):
        training.epoch(epoch, np.random.default_rng(0), losses=losses[: epoch - 1])
        assert training.lr == rates[-1]
    return rates


def test_learning_rates_of_an_epoch_follow_the_schedule_step_by_step():
    rates = rates_of(tiny_recipe(schedule=Schedule("cosine"), batch_size=4, lr=0.5), epochs=2)
    assert rates[0] == 0.5
    assert rates[3] == pytest.approx(0.25)  # half of the six steps
    assert all(later < earlier for earlier, later in pairwise(rates))


def test_a_warm_up_of_parts_of_an_epoch_ends_within_it():
    schedule = Schedule("step", factor=0.5, every=1, warmup_epochs=4 / 3)
    rates = rates_of(tiny_recipe(schedule=schedule, batch_size=4, lr=0.8), epochs=2)
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.4, 0.4, 0.4])


def test_on_plateau_reads_the_losses_of_the_epochs_before():
    schedule = Schedule("on_plateau", factor=0.1, patience=1)
    rates = rates_of(
        tiny_recipe(schedule=schedule, batch_size=12, lr=0.5), epochs=4, losses=[2.0, 3.0, 1.0]
    )
    assert rates == pytest.approx([0.5, 0.5, 0.05, 0.05])


def test_a_result_has_the_rate_of_its_epochs_last_step():
    recipe = tiny_recipe(schedule=Schedule("on_plateau", factor=0.5, patience=1), lr=0.1, epochs=6)
    results = run(recipe, tiny_data())
    losses = [result.val["loss"] for result in results]
    assert [result.lr for result in results] == pytest.approx(
        [0.1 * 0.5 ** plateaus(losses[:epoch], patience=1) for epoch in range(6)]
    )
    assert results[-1].lr < results[0].lr, "validation's loss fell in every epoch"
