"""What a worker makes of training, with torch and without Ray."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.worker import Infeasible, Job, train, train_trial
from xfer.data.folds import Fold
from xfer.errors import DataError, RecipeError
from xfer.recipe import ConvNet, Objective, Pretrained, Recipe, to_json

RECIPE = Recipe(model=ConvNet(kernels=(4,)), lr=1e-2, batch_size=8, epochs=2)
OBJECTIVE = Objective("balanced_accuracy")


@dataclass(frozen=True)
class Data:
    decoded: dict[str, Any]
    labels: np.ndarray
    splits: dict[str, np.ndarray]
    classes: tuple[str, ...] = ("no", "yes")
    patients: tuple[str, ...] = tuple(map(str, range(24)))
    digest: str = "of these images"
    subgroups: tuple[str | None, ...] = ()
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
    return {"number": 3, "recipe": to_json(recipe), "seed": 11, "last_epoch": 0, "cost": None}


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


def with_cost(job: Job, what: Any) -> Job:
    return replace(job, objective=replace(OBJECTIVE, minimise=what))


def test_a_cost_comes_before_the_first_epoch_and_not_again(job: Job) -> None:
    first, *results = train(config(), with_cost(job, "parameters"))
    assert first == {"cost": 3 * 3 * 4 + 4 + 2 * 4 + 2}
    assert [result["epoch"] for result in results] == [1, 2]
    on_record = config() | {"cost": 50.0}
    assert list(train(on_record, with_cost(job, "parameters"))) == results


def test_a_latency_is_measured_on_these_images_and_leaves_training_as_it_is(job: Job) -> None:
    first, *results = train(config(), with_cost(job, "latency"))
    assert 0 < first["cost"] < 1000
    plain = list(train(config(), replace(job, checkpoints=job.checkpoints / "other")))
    assert [r | {"seconds": 0} for r in results] == [r | {"seconds": 0} for r in plain]


def test_with_folds_a_cost_comes_before_the_first_fold(job: Job) -> None:
    thirds = np.split(np.arange(24), 3)
    folds = tuple(
        Fold(train=thirds[(k + 1) % 3], stop=thirds[(k + 2) % 3], val=thirds[k]) for k in range(2)
    )
    first, *results = train(config(), replace(with_cost(job, "parameters"), folds=folds))
    assert list(first) == ["cost"]
    assert [result["epoch"] for result in results if "epoch" in result] == [1, 2]


def test_a_model_that_cannot_be_built_says_so_in_place_of_a_cost(job: Job) -> None:
    recipe = replace(RECIPE, model=Pretrained("inception_v3", weights="none"))
    with pytest.raises(RecipeError, match="75"):
        list(train(config(recipe), with_cost(job, "parameters")))


def test_a_report_of_a_cost_is_flat_and_comes_first(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any]) -> None:
        heard.append(metrics)
        if metrics.get("final"):
            raise SystemExit

    monkeypatch.setattr("search.worker.tune.report", report)
    with pytest.raises(SystemExit):
        train_trial(config(), job=with_cost(job, "parameters"))
    assert heard[0] == {"number": 3, "epoch": 0, "cost": 50.0}
    assert [(told["epoch"], "score" in told) for told in heard[1:]] == [
        (1, True),
        (2, True),
        (2, False),
    ]
    assert heard[-1]["ended"] == "complete"
