"""One step after another: what is minimised, what is told, and at what rate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_data import CPU, run, tiny_data, tiny_recipe
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from xfer.models.assembly import assemble
from xfer.recipe import ConvNet, Head, Recipe, Schedule
from xfer.schedules import plateaus
from xfer.steps import Training, to_images

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


def rates_of(recipe: Recipe, *, epochs: int, losses=()):
    """The head's learning rate in every step, as the optimiser has it."""
    data = tiny_data(train=12)
    net = assemble(recipe, classes=2, size=16, channels=1, seed=0)
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
