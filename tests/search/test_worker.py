"""What a worker makes of training, with torch and without Ray."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.worker import Infeasible, Job, train
from xfer.errors import DataError
from xfer.recipe import ConvNet, Objective, Pretrained, Recipe, to_json

RECIPE = Recipe(model=ConvNet(kernels=(4,)), lr=1e-2, batch_size=8, epochs=2)
OBJECTIVE = Objective("balanced_accuracy")


@dataclass(frozen=True)
class Data:
    decoded: dict[str, Any]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    classes: tuple[str, ...] = ("no", "yes")
    digest: str = "of these images"
    pixels: Any = None  # to be had by `interpolated` alone

    def interpolated(self, interpolation: str) -> "Data":
        if interpolation not in self.decoded:
            raise DataError(f"no {interpolation} pixels")
        return replace(self, pixels=self.decoded[interpolation])


class Full:
    """Images for which there is no memory."""

    shape = (24, 8, 8, 1)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        raise MemoryError


@pytest.fixture
def job(tmp_path: Path) -> Job:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    splits = {"train": np.arange(16), "val": np.arange(16, 24)}
    data = Data(decoded={"bilinear": pixels}, labels=np.arange(24) % 2, splits=splits)
    return Job(
        data=data, objective=OBJECTIVE, checkpoints=tmp_path / "checkpoints", threads=1,
        device="cpu",
    )  # fmt: skip


def config(recipe: Recipe = RECIPE) -> dict[str, Any]:
    return {"number": 3, "recipe": to_json(recipe), "seed": 11, "last_epoch": 0}


def test_a_worker_trains_the_recipe_with_the_trials_own_seed_and_checkpoint(job: Job) -> None:
    from xfer.train import fit

    results = list(train(config(), job))
    alone = fit(RECIPE, job.data.interpolated("bilinear"), OBJECTIVE, seed=11, device="cpu")
    wanted = [result.to_dict() | {"seconds": 0} for result in alone]
    assert [result | {"seconds": 0} for result in results] == wanted
    assert [path.name for path in job.checkpoints.iterdir()] == ["3"]
    assert list(train(config(), job)) == results  # gone on from the checkpoint: as they were


def test_a_loss_that_is_no_number_is_infeasible(job: Job) -> None:
    deep = ConvNet(kernels=(16,) * 12, pool_after=())
    wild = replace(RECIPE, model=deep, lr=10.0, optimizer="sgd", l2=10.0, epochs=50)
    with pytest.raises(Infeasible, match="not_finite"):
        list(train(config(wild), job))


def test_memory_that_ran_out_is_infeasible(job: Job) -> None:
    with pytest.raises(Infeasible, match="memory"):
        list(train(config(), replace(job, data=replace(job.data, decoded={"bilinear": Full()}))))


def test_images_are_resized_as_those_that_the_backbones_weights_have_seen(job: Job) -> None:
    recipe = replace(RECIPE, model=Pretrained("swin_t", weights="none"))
    with pytest.raises(DataError, match="no bicubic pixels"):
        list(train(config(recipe), job))


def test_what_is_broken_stays_what_it_is(job: Job) -> None:
    splits = job.data.splits | {"train": np.arange(0)}
    with pytest.raises(ValueError, match="the train part of the data has no images"):
        list(train(config(), replace(job, data=replace(job.data, splits=splits))))
