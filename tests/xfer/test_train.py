from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tiny_data import CPU, OBJECTIVE, TinyData, run, tiny_data, tiny_recipe, without_seconds

from xfer.checkpoint import read_best, restore_best
from xfer.errors import DataError, NotFinite, RecipeError
from xfer.evaluate.jackknife import left_out_groups
from xfer.evaluate.metrics import METRICS
from xfer.logits import predict_logits
from xfer.models.assembly import assemble
from xfer.recipe import ConvNet, Head, Objective, Pretrained, Recipe
from xfer.steps import Training, batches
from xfer.train import EpochResult, fit


@dataclass(frozen=True)
class Grouped(TinyData):
    of: tuple[str, ...] = ()

    @property
    def patients(self):
        return self.of


def trained_net(recipe, data, epochs=2):
    """A net before and after training, as two states."""
    _, size, _, channels = data.pixels.shape
    net = assemble(recipe, classes=2, size=size, channels=channels, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    training = Training(recipe, net, data, epochs=epochs, device=CPU)
    for epoch in range(1, epochs + 1):
        training.epoch(epoch, np.random.default_rng(epoch), losses=[])
    return before, net.state_dict()


def test_eight_images_are_learned_by_heart():
    data = tiny_data(train=8, val=8)
    recipe = tiny_recipe(model=ConvNet(kernels=(8, 16)), head=Head(), lr=2e-2, epochs=60)
    last = run(recipe, data)[-1]
    assert last.train["accuracy"] == 1.0
    assert last.train["loss"] < 0.01


def test_a_result_has_every_metric_and_counts_from_one():
    results = run(tiny_recipe(epochs=2), tiny_data())
    assert [result.epoch for result in results] == [1, 2]
    assert set(results[0].val) == {"loss", *METRICS}
    assert set(results[0].train) == {"loss", "accuracy"}
    assert results[0].best
    weighted = 0.75 * results[0].val["recall"] + 0.25 * results[0].val["specificity"]
    assert results[0].search_score == pytest.approx(weighted)


def test_what_is_left_without_each_group_of_patients_is_of_the_same_groups_for_all_recipes():
    data = tiny_data(val=60)
    rows = data.splits["val"]
    patients = [data.patients[row] for row in rows]
    for changes, seed in (({}, 0), ({"lr": 1e-3}, 1)):
        recipe = tiny_recipe(epochs=2, **changes)
        for result in run(recipe, data, seed=seed, objective=Objective("auroc")):
            kept = left_out_groups(data.labels[rows], patients)
            assert len(result.left_out) == len(kept) == 20
            # Twenty sets of 57 images: what is lost in one is there in the nineteen others.
            assert np.mean(result.left_out) == pytest.approx(result.search_score, abs=0.005)
            assert max(result.left_out) > min(result.left_out)


def test_one_patients_images_are_left_out_together():
    data = tiny_data(val=16)
    patients = tuple(f"p{row % 8}" for row in range(40))
    [one] = run(tiny_recipe(epochs=1), data)
    [other] = run(tiny_recipe(epochs=1), Grouped(**vars(data), of=patients))
    assert (len(one.left_out), len(other.left_out)) == (16, 8)
    assert one.search_score == other.search_score


def test_a_history_that_is_older_than_the_spread_is_read():
    [result] = run(tiny_recipe(epochs=1), tiny_data())
    values = result.to_dict()
    del values["left_out"]
    assert EpochResult.from_dict(values).left_out == []


def test_several_classes_are_scored_without_a_threshold():
    data = tiny_data(classes=3)
    result = run(tiny_recipe(epochs=1), data, objective=Objective("mcc"))[0]
    assert result.threshold is None
    assert {f"recall/{name}" for name in data.classes} < set(result.val)


def test_a_result_goes_through_json_without_loss():
    for result in run(tiny_recipe(epochs=1), tiny_data()):
        assert EpochResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_same_seed_same_numbers_and_another_seed_others():
    data = tiny_data()
    once, again, other = (run(tiny_recipe(), data, seed=seed) for seed in (3, 3, 4))
    assert without_seconds(once) == without_seconds(again)
    assert without_seconds(once) != without_seconds(other)


def test_the_callers_random_numbers_do_not_touch_training_nor_training_them():
    torch.manual_seed(0)
    expected = torch.rand(3)
    undisturbed = run(tiny_recipe(), tiny_data())
    torch.manual_seed(0)
    disturbed, drawn = [], []
    for result in fit(tiny_recipe(), tiny_data(), OBJECTIVE, seed=0, device=CPU):
        disturbed.append(result)
        drawn.append(torch.rand(1))
    assert without_seconds(disturbed) == without_seconds(undisturbed)
    torch.testing.assert_close(torch.cat(drawn), expected, rtol=0, atol=0)


@pytest.mark.parametrize("batch_norm", ["train", "inference"])
def test_frozen_tensors_and_statistics_stay_bit_identical(batch_norm):
    model = Pretrained("resnet18", unfreeze_depth=1, weights="none", batch_norm=batch_norm)
    recipe = Recipe(model=model, lr=1e-2, batch_size=4)
    before, after = trained_net(recipe, tiny_data(train=8, size=32), epochs=1)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    stage = {name for name in before if "layer4" in name}
    statistics = {n for n in stage if "running" in n or "num_batches" in n}
    head = {name for name in before if name.startswith("head")}
    assert changed == head | stage - (statistics if batch_norm == "inference" else set())


def test_depth_zero_moves_the_head_alone():
    recipe = Recipe(model=Pretrained("resnet18", weights="none"), lr=1e-2, batch_size=4)
    before, after = trained_net(recipe, tiny_data(train=8, size=32), epochs=1)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.outputs.weight", "head.outputs.bias"}


@pytest.mark.parametrize(
    ("images", "size", "expected"),
    [
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),  # what is left over is trained on, too
        (9, 4, [4, 5]),  # but never a single one
        (3, 8, [3]),
        (1, 8, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batches_hold_every_image_once(images, size, expected):
    parts = batches(np.arange(images), size)
    assert [len(part) for part in parts] == expected
    assert np.concatenate(parts).tolist() == list(range(images))


def test_a_last_batch_of_one_does_not_stop_batch_norm():
    model = Pretrained("resnet18", unfreeze_depth=1, weights="none", batch_norm="train")
    recipe = Recipe(model=model, lr=1e-3, batch_size=4, epochs=1)
    assert len(run(recipe, tiny_data(train=9, size=32))) == 1  # layer4 sees 1 x 1 pixel


def test_batches_of_one_with_batch_norm_are_refused_before_training():
    with pytest.raises(RecipeError, match="batch_size must be at least 2 where batch norms are tr"):
        run(tiny_recipe(batch_size=1), tiny_data())


def test_each_epoch_goes_through_the_images_in_another_order():
    seen = []

    class Watched:
        def __init__(self, pixels):
            self.pixels = pixels

        def __getitem__(self, rows):
            seen.append(rows.tolist())
            return self.pixels[rows]

    data = tiny_data(train=8, val=4)
    run(tiny_recipe(epochs=2, batch_size=8), replace(data, pixels=Watched(data.pixels)))
    orders = [rows for rows in seen if sorted(rows) == list(range(8))]
    assert len(orders) == 2
    assert orders[0] != orders[1]


def test_predictions_do_not_depend_on_what_else_is_in_the_batch():
    data = tiny_data()
    net = assemble(tiny_recipe(), classes=2, size=16, channels=1, seed=0)
    every = predict_logits(net, data.pixels, np.arange(40), device=CPU)
    some = predict_logits(net, data.pixels, np.arange(30, 33), device=CPU)
    torch.testing.assert_close(every[30:33], some, rtol=1e-5, atol=1e-6)
    assert every.dtype == torch.float64


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (400, r"the loss became (nan|inf) in epoch 1, step \d+ of 50 \(sgd, lr 10\); a lower lr"),
        (8, r"the loss on validation became (nan|inf) in epoch \d+; a lower lr may help"),
    ],
    ids=["in an epoch's steps", "after an epoch's only step"],
)
def test_a_loss_that_is_no_number_ends_training_where_it_appears(images, message):
    model = ConvNet(kernels=(4, 8))  # without norms nothing holds the values back
    recipe = tiny_recipe(model=model, optimizer="sgd", lr=10.0, l2=10.0, epochs=50)
    with pytest.raises(NotFinite, match=message):
        run(recipe, tiny_data(train=images))


@pytest.mark.parametrize(
    ("data", "changes", "error", "message"),
    [
        (tiny_data(), {"epochs": None}, RecipeError, "Recipe.epochs must be set"),
        (tiny_data(train=0), {}, DataError, "the train part of the data has no images"),
        (tiny_data(val=0), {}, DataError, "the val part of the data has no images"),
        (tiny_data(val=1), {}, DataError, "labels must hold"),
    ],
    ids=["no epochs", "no training images", "no validation images", "one class in validation"],
)
def test_what_cannot_be_trained_is_told_at_the_call(data, changes, error, message):
    with pytest.raises(error, match=message):
        fit(tiny_recipe(**changes), data, OBJECTIVE, seed=0)


def test_a_negative_seed_is_refused():
    with pytest.raises(RecipeError, match="seed must be at least 0, got -1"):
        fit(tiny_recipe(), tiny_data(), OBJECTIVE, seed=-1)


def test_early_stopping_waits_as_long_as_it_was_told_and_keeps_the_best_weights(tmp_path):
    data = tiny_data()
    recipe = tiny_recipe(epochs=30, early_stopping=2, lr=3e-2)
    results = run(recipe, data, checkpoint=tmp_path)
    scores = [result.search_score for result in results]
    best = int(np.argmax(scores))
    assert len(results) == best + 1 + 2 < 30
    assert [result.stopped for result in results] == [None] * (best + 2) + ["early_stopping"]
    rises = [True] + [max(scores[:k]) < scores[k] for k in range(1, len(scores))]
    assert [result.best for result in results] == rises
    kept = read_best(tmp_path)
    assert kept.result == results[best].to_dict()
    logits = predict_logits(restore_best(tmp_path), data.pixels, data.splits["val"], device=CPU)
    np.testing.assert_array_equal(logits.numpy(), kept.logits)
    np.testing.assert_array_equal(kept.labels, data.labels[data.splits["val"]])
