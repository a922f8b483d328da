"""A search decodes its images as each model of its space expects them, and no others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.check import check
from search.check.inspection import inspect
from search.finish import finish
from search.options import parse
from search.outlook import foresee
from search.plan import Plan, make_plan
from search.rundir import RunDir
from search.space import load_space
from search.trials import TrialRow
from search.workers import Slots
from xfer.data.dataset import Dataset, load_dataset
from xfer.exported import load_exported
from xfer.models.interpolation import interpolation_of
from xfer.recipe import ConvNet, Head, Images, Objective, Pretrained, Recipe, to_json
from xfer.store import Store

SPACE = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Pretrained, Recipe

DATA = Images("builtin:digits", positive="8", size=32, channels=1)
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials=4, epochs=1)
KNOWN = {}


def space(trial: Trial) -> Recipe:
    name = trial.suggest_categorical("model", MODELS)
    model = ConvNet(kernels=(4,)) if name == "convnet" else Pretrained(name)
    return Recipe(model=model, lr=1e-3)
"""
OBJECTIVE = Objective("balanced_accuracy")


def planned(folder: Path, *models: str) -> Plan:
    path = folder / "mine.py"
    path.write_text(SPACE.replace("MODELS", repr(list(models))))
    return make_plan(load_space(path), parse([str(path), "--weights", "none"]))


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("convnet",), ("bilinear",)),
        (("efficientnet_b0",), ("bicubic",)),
        (("efficientnet_b0", "swin_t"), ("bicubic",)),
        (("efficientnet_b0", "convnet"), ("bilinear", "bicubic")),
        (("resnet18", "efficientnet_b0"), ("bilinear", "bicubic")),
        (("resnet18", "efficientnet_b00"), ("bilinear",)),
        (("efficientnet_b00",), ()),
    ],
)
def test_a_space_needs_the_interpolations_of_its_models(
    tmp_path: Path, models: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert check(planned(tmp_path, *models)).interpolations == expected


def test_disk_is_foreseen_for_each_interpolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    plan = planned(tmp_path, "convnet")
    inspection = inspect(plan)
    slots = Slots(workers=1, threads=1, gpus_per_trial=0.0, device="cpu")
    for interpolations, images in ((("bicubic",), 1797), (("bilinear", "bicubic"), 2 * 1797)):
        checked = replace(inspection.checked, interpolations=interpolations)
        ahead, _ = foresee(plan, replace(inspection, checked=checked), slots)
        [need] = [n for disk in ahead.disks for n in disk.needs if n.what == "decoded images"]
        assert need.bytes == images * 32 * 32


class Forbidden:
    """Pixels that nobody may look at."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        raise AssertionError("these pixels are not the model's")


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    for kind in ("ill", "well"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for number in range(15):
            pixels = rng.integers(0, 256, (40, 50), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{number}.png")
    images = Images(str(tmp_path / "data"), positive="ill", size=32)
    data, _ = load_dataset(
        images, store=Store(tmp_path / "store"), interpolations=("bilinear", "bicubic")
    )
    return data


@pytest.mark.parametrize(
    "model", [ConvNet(kernels=(4,)), Pretrained("efficientnet_b0", weights="none")]
)
def test_the_winner_is_scored_and_shipped_with_the_pixels_it_was_trained_on(
    tmp_path: Path,
    data: Dataset,
    model: ConvNet | Pretrained,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xfer.train import fit

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # no weights: a linear probe has other pixels

    recipe = Recipe(model=model, head=Head(), lr=1e-2, batch_size=8, epochs=1)
    own = interpolation_of(model)
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    [result] = fit(
        recipe, data.interpolated(own).without("test"), OBJECTIVE, seed=0,
        checkpoint=run.checkpoint(0), device="cpu",
    )  # fmt: skip
    row = TrialRow(
        number=0, name=None, state="complete", value=result.search_score, params={},
        recipe=to_json(recipe), scores={1: result.search_score}, best_epoch=1, val=result.val,
        seconds=1.0, ended="all epochs",
    )  # fmt: skip
    others = {name: Forbidden() if name != own else pixels for name, pixels in data.decoded.items()}
    mixed: Any = replace(data, decoded=others)
    finished = finish(run, [row], mixed, OBJECTIVE, demo=False)
    assert finished.test is not None
    assert load_exported(run.best).interpolation == own
