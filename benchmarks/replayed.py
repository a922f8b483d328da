"""What is replayed by `benchmarks.against_stock`: lists of trials, their images and their weights.

Both sides read the same files: JPEG or PNG in class folders, and weights in a TORCH_HOME of the
benchmark's own, which holds links to those at hand and, where none are, seeded random ones.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

Files = Iterator[bytes]

NEGATIVE, POSITIVE = "NORMAL", "PNEUMONIA"
LOWEST_LR, HIGHEST_LR = 1e-5, 1e-1
"""Of the space; every trial lies in it."""
_CALIBRATED_ON = 32  # training images that give random weights' batch norms their statistics


@dataclass(frozen=True, kw_only=True)
class Trial:
    """All that decides one trial, on either side, but for the seed."""

    backbone: str
    """By torchvision's name."""
    unfreeze_depth: int
    """Stages trained besides the head, 0 to 4."""
    lr: float
    """Of Adam, for all that is trained."""
    batch_size: int
    """Images per step."""
    epochs: int
    """Passes over the training part."""
    image_size: int
    """Side of the images, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What trials are drawn from, each by itself."""

    backbones: tuple[str, ...]
    """Evenly."""
    depths: tuple[int, ...]
    """Evenly; ascending."""
    lrs: tuple[float, float]
    """Lowest and highest, evenly in the logarithm."""
    batch_sizes: tuple[int, ...] = (16, 32)
    """Evenly."""
    epochs: int
    """Of every trial."""
    image_size: int
    """Likewise, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A list of trials, and what they are trained on."""

    name: str
    """As on the command line."""
    drawn: Drawn
    """What the trials are drawn from."""
    trials: tuple[Trial, ...]
    """In the order they are begun."""
    images: Literal["phantoms", "chest_xray", "pneumoniamnist"]
    """Where they come from: drawn, or real ones below XFER_DATA."""
    train: int
    """Images per class that are trained on."""
    val: int
    """Likewise, that score an epoch."""
    test: int
    """Likewise, that the best model is tested on in the end."""
    held_back: int = 0
    """Likewise, that neither side is given: models are judged on them afterwards."""
    random: tuple[str, ...] = ()
    """Backbones whose weights are random ones."""
    targets: tuple[float, ...] = ()
    """AUROCs on `held_back` that a search has to reach; it stops poor trials. None of them: all
    trials are trained to the end."""


def draw_trials(drawn: Drawn, count: int, *, seed: int) -> tuple[Trial, ...]:
    """A list of trials; a longer one begins with a shorter one of the same seed."""
    rng = np.random.default_rng(seed)
    low, high = np.log10(drawn.lrs)
    return tuple(
        Trial(
            backbone=drawn.backbones[rng.integers(len(drawn.backbones))],
            unfreeze_depth=drawn.depths[rng.integers(len(drawn.depths))],
            lr=float(f"{10 ** rng.uniform(low, high):.4g}"),
            batch_size=drawn.batch_sizes[rng.integers(len(drawn.batch_sizes))],
            epochs=drawn.epochs,
            image_size=drawn.image_size,
        )
        for _ in range(count)
    )


def workload(name: str, *, small: bool = False, seed: int = 0) -> Workload:
    """`head`, `real` or `mixed`.

    Args:
        name: of the workload.
        small: fewer trials, and where it takes hours fewer epochs and images.
        seed: of the list of trials.

    Raises:
        ValueError: another name.
    """
    if name == "head":
        drawn = Drawn(
            backbones=("resnet50",),
            depths=(0,),
            lrs=(1e-3, 1e-2),
            epochs=5,
            image_size=224,
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 4 if small else 16, seed=seed),
            images="phantoms",
            train=64 if small else 128,
            val=32,
            test=32,
            random=("resnet50",),
        )
    if name == "real":
        drawn = Drawn(
            backbones=("squeezenet1_1",), depths=(0,), lrs=(3e-4, 1e-2), epochs=5, image_size=64
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 4 if small else 16, seed=seed),
            images="chest_xray",
            train=200,
            val=50,
            test=50,
        )
    if name == "mixed":
        drawn = Drawn(
            backbones=("squeezenet1_1", "mobilenet_v2", "resnet18"),
            depths=(0, 1, 2, 3, 4),
            lrs=(1e-4, 1e-2),
            epochs=3 if small else 6,
            image_size=64,
        )
        return Workload(
            name=name,
            drawn=drawn,
            trials=draw_trials(drawn, 6 if small else 24, seed=seed),
            images="pneumoniamnist",
            train=100 if small else 250,
            val=50,
            test=30,
            held_back=500 if small else 1000,
            random=("resnet18",),
            targets=(0.9, 0.95) if small else (0.95, 0.96, 0.97, 0.98),
        )
    raise ValueError(f"the workload must be head, real or mixed, got {name!r}.")


def missing(work: Workload) -> str | None:
    """What a workload needs that is not here, as a sentence; None: nothing."""
    if work.images != "phantoms" and "XFER_DATA" not in os.environ:
        return f"XFER_DATA is not set: no real images ({work.images})."
    home = os.environ.get("TORCH_HOME")
    for backbone in work.drawn.backbones:
        if backbone not in work.random and (home is None or not _weights_in(Path(home), backbone)):
            return f"TORCH_HOME={home} has no weights of {backbone}."
    return None


# --------------------------------------------------------------------------------------------------
# What each side is given


def trials_json(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """For `benchmarks.stock`."""
    return [asdict(trial) for trial in trials]


def known_name(number: int) -> str:
    """What our search calls the trial at this place of the list."""
    return f"trial {number:03d}"


def space_text(work: Workload, trials: Sequence[Trial], data: Path) -> str:
    """A space file for `python -m search.run --known-only`.

    Args:
        work: what the space is like, whichever of its trials are run.
        trials: that are run.
        data: holds `train`, `val` and `test`.
    """
    known = {
        known_name(number): {
            "model": trial.backbone,
            "unfreeze_depth": trial.unfreeze_depth,
            "lr": trial.lr,
            "batch_size": trial.batch_size,
        }
        for number, trial in enumerate(trials)
    }
    drawn = work.drawn
    lowest, highest = drawn.depths[0], drawn.depths[-1]
    entries = "".join(f"    {name!r}: {entry!r},\n" for name, entry in known.items())
    # A budget of one epoch has no rung at which trials are judged; recipes name their own epochs.
    budget = drawn.epochs if work.targets else 1
    return f'''"""A list of trials that `benchmarks.against_stock` replays."""

from search.space import Budget, Trial
from xfer.recipe import Images, Objective, Pretrained, Recipe

DATA = Images({str(data)!r}, positive={POSITIVE!r}, size={drawn.image_size})
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials={len(trials)}, epochs={budget})
KNOWN = {{
{entries}}}


def space(trial: Trial) -> Recipe:
    return Recipe(
        model=Pretrained(
            trial.suggest_categorical("model", {list(drawn.backbones)!r}),
            unfreeze_depth=trial.suggest_int("unfreeze_depth", {lowest}, {highest}),
        ),
        lr=trial.suggest_float("lr", {LOWEST_LR!r}, {HIGHEST_LR!r}, log=True),
        batch_size=trial.suggest_categorical("batch_size", {list(drawn.batch_sizes)!r}),
        epochs={drawn.epochs},
    )
'''


# --------------------------------------------------------------------------------------------------
# Images


def write_images(work: Workload, folder: Path) -> dict[str, dict[str, int]]:
    """Writes `train`, `val`, `test` below `folder/data`, and `folder/held_back`.

    Returns:
        images written, by part of `data` and class.

    Raises:
        ValueError: there are fewer images than the workload asks for.
    """
    parts = {"train": work.train, "val": work.val, "test": work.test}
    suffix = ".png" if work.images == "pneumoniamnist" else ".jpg"
    sources = {label: _files(work, label) for label in (NEGATIVE, POSITIVE)}
    for name, files in sources.items():
        for part, count in parts.items():
            _write(folder / "data" / part / name, islice(files, count), count, suffix)
        if work.held_back:
            held = islice(files, work.held_back)
            _write(folder / "held_back" / name, held, work.held_back, suffix)
    return {part: dict.fromkeys(sources, count) for part, count in parts.items()}


def _write(folder: Path, files: Files, count: int, suffix: str) -> None:
    folder.mkdir(parents=True)
    written = 0
    for content in files:
        (folder / f"{written:04d}{suffix}").write_bytes(content)
        written += 1
    if written < count:
        raise ValueError(f"{folder} needs {count} images, there are {written}.")


def _files(work: Workload, label: str) -> Files:
    """Gray images of a class, as files hold them, each of another patient."""
    if work.images == "phantoms":
        return _drawn(label, work.drawn.image_size)
    data = Path(os.environ["XFER_DATA"])
    return _radiographs(data, label) if work.images == "chest_xray" else _small(data, label)


def _drawn(label: str, size: int) -> Files:
    from PIL import Image

    from xfer.data.phantoms import draw_phantom, plan_phantoms

    for phantom in plan_phantoms(2000, seed=0):
        if phantom.label == label and phantom.seed[2] == 1:  # a patient's first image
            image = Image.fromarray(draw_phantom(phantom))
            yield _encoded(image.resize((size, size), Image.Resampling.BICUBIC), "JPEG")


def _radiographs(data: Path, label: str) -> Files:
    for part in ("train", "val", "test"):  # 200, 50 and 50 per class, one image per patient
        for file in sorted((data / "chest_xray" / part / label).iterdir()):
            yield file.read_bytes()


def _small(data: Path, label: str) -> Files:
    from PIL import Image

    with np.load(data / "pneumoniamnist.npz") as arrays:
        images = np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
        labels = np.concatenate([arrays[f"{part}_labels"] for part in ("train", "val", "test")])
    chosen = images[labels.ravel() == int(label == POSITIVE)]
    _, first = np.unique(chosen.reshape(len(chosen), -1), axis=0, return_index=True)
    for number in np.random.default_rng(0).permutation(np.sort(first)):
        yield _encoded(Image.fromarray(chosen[number]), "PNG")


def _encoded(image: Any, format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=95)
    return buffer.getvalue()


# --------------------------------------------------------------------------------------------------
# Weights


def write_weights(work: Workload, home: Path, data: Path) -> None:
    """Makes a TORCH_HOME with the weights of every backbone of the workload.

    Random ones are torchvision's initial values; batch norms then take their statistics from
    training images, so that features have the scale that those of a trained net have.

    Args:
        work: names the backbones.
        home: the new TORCH_HOME.
        data: holds `train`.
    """
    import torch

    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for backbone in work.drawn.backbones:
        file = folder / _file_name(backbone)
        if backbone in work.random:
            torch.save(_random_state(backbone, data, image_size=work.drawn.image_size), file)
        else:
            file.symlink_to(_in_home(Path(os.environ["TORCH_HOME"]), backbone).resolve())


def _random_state(backbone: str, data: Path, *, image_size: int) -> Mapping[str, Any]:
    import torch
    from torchvision.models import get_model

    from benchmarks.stock import load_part

    part = load_part(data, "train", image_size=image_size)
    chosen = np.linspace(0, len(part) - 1, _CALIBRATED_ON).astype(int)
    torch.manual_seed(0)
    model = get_model(backbone, weights=None).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches, which is one
    with torch.no_grad():
        model(torch.stack([part[int(i)][0] for i in chosen]))
    return model.state_dict()


def _file_name(backbone: str) -> str:
    from xfer.models.table import TABLE

    return TABLE[backbone].file


def _in_home(home: Path, backbone: str) -> Path:
    return home / "hub" / "checkpoints" / _file_name(backbone)


def _weights_in(home: Path, backbone: str) -> bool:
    return _in_home(home, backbone).is_file()
