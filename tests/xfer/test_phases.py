"""First the head alone, then what the model says: what is trained when, and at what rate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import CPU, run, tiny_data

from xfer.checkpoint import path_of
from xfer.errors import NotFinite, RecipeError
from xfer.logits import predict_logits
from xfer.models.assembly import assemble
from xfer.recipe import HeadFirst, Pretrained, Recipe, Schedule
from xfer.steps import Training
from xfer.tensorfile import read_file

NORMED = Pretrained("mobilenet_v2", unfreeze_depth=1, weights="none", batch_norm="train")
SQUEEZE = Pretrained("squeezenet1_1", unfreeze_depth=1, weights="none", lr_factor=0.1)


def two_phases(first_epochs: int, first_lr: float = 0.03, **changes: Any) -> Recipe:
    """A recipe whose first phase has so many epochs."""
    first = HeadFirst(epochs=first_epochs, lr=first_lr)
    return replace(Recipe(model=SQUEEZE, lr=0.01, batch_size=8, head_first=first), **changes)


def training_of(recipe: Recipe, *, epochs: int, data=None) -> Training:
    net = assemble(recipe, classes=2, size=32, channels=1, seed=0)
    return Training(recipe, net, data or tiny_data(size=32), epochs=epochs, device=CPU)


def state_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.net.state_dict().items()}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_head_alone_moves_at_first_then_the_thawed_stage_too(optimizer):
    """Penalties of all kinds pull at frozen weights in vain, and no statistics move."""
    recipe = two_phases(1, model=NORMED, optimizer=optimizer, l1=0.01, l2=0.01, clip_norm=1.0)
    training = training_of(recipe, epochs=2)
    expected = set(training.net.changing())
    states = [state_of(training)]
    for epoch in (1, 2):
        training.epoch(epoch, np.random.default_rng(0), losses=[])
        states.append(state_of(training))
    first, second = (
        {name for name in before if not torch.equal(before[name], after[name])}
        for before, after in pairwise(states)
    )
    assert first == {"head.outputs.weight", "head.outputs.bias"}
    assert second == expected
    assert any("running_mean" in name for name in expected)


def rates_of(recipe: Recipe, *, losses: list[float]) -> list[list[float]]:
    """Of each group, in every step of an epoch more than there are losses."""
    training = training_of(recipe, epochs=len(losses) + 1)
    rates = []
    training.optimizer.register_step_post_hook(
        lambda optimizer, *_: rates.append([group["lr"] for group in optimizer.param_groups])
    )
    for epoch in range(len(losses) + 1):
        training.epoch(epoch + 1, np.random.default_rng(0), losses=losses[:epoch])
    return rates


def test_the_first_phase_has_its_own_constant_rate_and_the_schedule_begins_with_the_second():
    recipe = two_phases(2, 0.03, schedule=Schedule("cosine", warmup_epochs=2 / 3))
    rates = rates_of(recipe, losses=[1.0, 1.0, 1.0])
    of_head = [rate[-1] for rate in rates]
    assert of_head[:6] == [0.03] * 6
    cosine = [0.01 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)]
    assert of_head[6:] == pytest.approx([0.005, 0.01, *cosine])
    assert [rate[0] for rate in rates[6:]] == pytest.approx([0.1 * rate for rate in of_head[6:]])


def test_a_plateau_of_the_first_phase_does_not_count_in_the_second():
    recipe = two_phases(
        3, 0.03, schedule=Schedule("on_plateau", factor=0.5, patience=1), batch_size=24
    )
    # The lowest of all is one of the first phase's; the second phase's own fall, and rise once.
    rates = rates_of(recipe, losses=[1.0, 2.0, 3.0, 5.0, 4.0, 4.5])
    assert [rate[-1] for rate in rates] == [0.03, 0.03, 0.03, 0.01, 0.01, 0.01, 0.005]


@pytest.mark.parametrize(("epochs", "stop"), [(1, 3), (3, 5)])
def test_early_stopping_counts_no_epoch_of_the_first_phase(epochs, stop):
    """At a rate of nearly zero every epoch's score is the first one's."""
    still = two_phases(epochs, 1e-9, lr=1e-9, epochs=9, early_stopping=2)
    results = run(still, tiny_data(size=32))
    assert {result.search_score for result in results} == {results[0].search_score}
    assert [result.best for result in results] == [True] + [False] * (stop - 1)
    assert len(results) == stop
    assert results[-1].stopped == "early_stopping"


def test_the_best_epoch_is_the_best_of_both_phases(tmp_path):
    # At this rate the second phase tears down what the first has learned.
    recipe = two_phases(2, 1e-3, model=replace(SQUEEZE, lr_factor=10.0), lr=1.0, epochs=3)
    results = run(recipe, tiny_data(size=32), checkpoint=tmp_path)
    scores = [result.search_score for result in results]
    assert int(np.argmax(scores)) < 2
    assert [result.best for result in results][2] is False
    header, tensors = read_file(path_of(tmp_path, "best"))
    assert header["history"][-1]["epoch"] == 1 + int(np.argmax(scores))
    assert any(name.startswith("backbone.") for name in tensors["model"])  # though frozen then


@pytest.mark.parametrize("model", [NORMED, SQUEEZE], ids=lambda model: model.name)
def test_validation_sees_the_same_net_in_both_phases(model):
    data = tiny_data(size=32)
    net = assemble(two_phases(1, model=model), classes=2, size=32, channels=1, seed=0)
    rows = data.splits["val"]
    net.head_only(True)
    first = predict_logits(net, data.pixels, rows, device=CPU)
    net.head_only(False)
    assert torch.equal(predict_logits(net, data.pixels, rows, device=CPU), first)


def test_batches_of_one_are_refused_where_norms_train_in_the_second_phase():
    with pytest.raises(RecipeError, match="batch_size must be at least 2 where batch norms are tr"):
        run(two_phases(1, model=NORMED, batch_size=1, epochs=2), tiny_data(size=32))


def test_batches_of_one_are_fine_where_no_norm_trains_in_any_phase():
    model = replace(NORMED, batch_norm="inference")
    recipe = two_phases(1, model=model, batch_size=1, epochs=2)
    assert len(run(recipe, tiny_data(train=2, val=4, size=32))) == 2


def test_a_loss_that_is_no_number_names_the_rate_of_its_phase():
    recipe = two_phases(1, 10.0, optimizer="sgd", l2=10.0, epochs=2)
    with pytest.raises(
        NotFinite, match=r"epoch 1, step \d+ of 50 \(sgd, head_first.lr 10\); a lower head_first.lr"
    ):
        run(recipe, tiny_data(train=400, size=32))


def test_the_head_learns_in_the_first_phase():
    results = run(two_phases(8, 3e-3, epochs=9), tiny_data(size=32))
    assert results[7].train["loss"] < results[0].train["loss"]
    assert [result.lr for result in results] == [3e-3] * 8 + [0.01]
