"""A run that goes on from its checkpoint is the one that was never interrupted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_data import CPU, OBJECTIVE, run, tiny_data, tiny_recipe, without_seconds

from xfer.checkpoint import restore_best
from xfer.errors import ModelFileError, StoreError
from xfer.recipe import ConvNet, Head, HeadFirst, Objective, Pretrained, Recipe, Schedule
from xfer.train import fit

# Everything that could differ after an interruption: dropout, norms' statistics, momentum, the
# phase, the schedule's place and what it has seen, the count towards early stopping.
RESNET_HEADS = Head(dense=(8,), dropout=0.3)
RESUMED = {
    "convnet, adam, cosine": tiny_recipe(schedule=Schedule("cosine"), l1=1e-4, l2=1e-3, epochs=4),
    "sgd with nesterov, early stopping": tiny_recipe(
        optimizer="sgd", nesterov=True, momentum=0.9, lr=0.05, early_stopping=1, epochs=6
    ),
    "adamw, flattened": tiny_recipe(optimizer="adamw", l2=0.1, head=Head(pool="flatten")),
    "resnet18, stage 4, norms train": Recipe(
        model=Pretrained(
            "resnet18", unfreeze_depth=1, weights="none", batch_norm="train", lr_factor=0.1
        ),
        head=RESNET_HEADS,
        lr=1e-2,
        batch_size=8,
        epochs=2,
    ),
    "squeezenet1_1, head first, adam, on plateau": Recipe(
        model=Pretrained(
            "squeezenet1_1", unfreeze_depth=2, weights="none", lr_factor=0.5, lr_decay=0.5
        ),
        head_first=HeadFirst(epochs=2, lr=3e-2),
        lr=1e-2,
        l2=1e-3,
        schedule=Schedule("on_plateau", factor=0.5, patience=1, warmup_epochs=0.5),
        label_smoothing=0.1,
        clip_norm=1.0,
        early_stopping=2,
        batch_size=8,
        epochs=5,
    ),
    "mobilenet_v2, head first, sgd, one cycle": Recipe(
        model=Pretrained("mobilenet_v2", unfreeze_depth=1, weights="none", batch_norm="train"),
        head=Head(dropout=0.2),
        head_first=HeadFirst(epochs=1, lr=0.1),
        lr=0.05,
        l1=1e-4,
        l1_on="convolutions",
        optimizer="sgd",
        schedule=Schedule("one_cycle"),
        batch_size=8,
        epochs=3,
    ),
    "convnet, sgd, on plateau": tiny_recipe(
        optimizer="sgd", lr=1.0, schedule=Schedule("on_plateau", factor=0.3, patience=1), epochs=4
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name.startswith(("resnet", "mobile"))
        else name
        for name in RESUMED
    ],
)
def test_resumed_after_any_epoch_equals_uninterrupted(tmp_path, name):
    recipe = RESUMED[name]
    data = tiny_data(size=32 if isinstance(recipe.model, Pretrained) else 16)
    expected = without_seconds(run(recipe, data, checkpoint=tmp_path / "whole"))
    best = restore_best(tmp_path / "whole")
    for epoch in range(1, len(expected) + 1):
        folder = tmp_path / str(epoch)
        interrupted = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=folder, device=CPU)
        first = [next(interrupted) for _ in range(epoch)]
        interrupted.close()
        resumed = run(recipe, data, checkpoint=folder)
        assert resumed[:epoch] == first  # bit by bit, the seconds too
        assert without_seconds(resumed) == expected
        same_weights(restore_best(folder), best)


def same_weights(one, other):
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_resumed_every_single_epoch_equals_uninterrupted(tmp_path):
    recipe, data = RESUMED["convnet, adam, cosine"], tiny_data()
    for epoch in range(1, 5):
        steps = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path, device=CPU)
        results = [next(steps) for _ in range(epoch)]
        steps.close()
    assert without_seconds(results) == without_seconds(run(recipe, data))


def test_a_finished_checkpoint_is_only_told_again(tmp_path):
    recipe = tiny_recipe(epochs=2)
    once = run(recipe, tiny_data(), checkpoint=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert run(recipe, tiny_data(), checkpoint=tmp_path) == once
    assert {path: path.stat().st_mtime_ns for path in files} == files


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": tiny_recipe(lr=2e-2)}, r"recipe\.lr was 0\.01, is 0\.02\."),
        ({"seed": 1}, "seed was 0, is 1"),
        (
            {"data": replace(tiny_data(), digest="other")},
            "the images, their labels or their parts are others",
        ),
        ({"objective": Objective("auroc")}, r"objective\.name was 'recall_weighted', is 'auroc'"),
    ],
    ids=["recipe", "seed", "data", "objective"],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changed, message):
    run(tiny_recipe(), tiny_data(), checkpoint=tmp_path)
    other = {"recipe": tiny_recipe(), "data": tiny_data(), "seed": 0, **changed}
    with pytest.raises(ModelFileError, match=f"belongs to another run: .*{message}"):
        run(**other, checkpoint=tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write to folder .*file"):
        run(tiny_recipe(), tiny_data(), checkpoint=tmp_path / "file")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, there is none")
@pytest.mark.parametrize("name", RESUMED)
def test_a_gpu_trains_as_the_cpu_does_and_goes_on_from_its_checkpoint(tmp_path, name):
    recipe, data = RESUMED[name], tiny_data(size=32)
    recipe = replace(recipe, head=Head(), model=replace(recipe.model, **no_dropout(recipe.model)))
    on_cpu = run(recipe, data)
    whole = list(fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path / "a", device="cuda"))
    assert whole[0].train["loss"] == pytest.approx(on_cpu[0].train["loss"], rel=0.02)
    interrupted = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path / "b", device="cuda")
    next(interrupted)
    interrupted.close()
    resumed = list(fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path / "b", device="cuda"))
    assert [r.train["loss"] for r in resumed] == pytest.approx(
        [r.train["loss"] for r in whole], rel=1e-4
    )


def no_dropout(model):
    return {"dropout": 0.0} if isinstance(model, ConvNet) else {}  # devices draw it differently
