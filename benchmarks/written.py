"""What do both sides of `benchmarks.against_stock` read?

The same files: JPEG or PNG in class folders, and weights in a TORCH_HOME of the benchmark's own,
which holds links to those at hand and, where none are, seeded random ones.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replayed import NEGATIVE, POSITIVE, Workload

Files = Iterator[bytes]

_CALIBRATED_ON = 32  # training images that give random weights' batch norms their statistics


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
