"""What is shipped? A folder that holds one whole model and everything needed to use it.

    best/  model.safetensors  recipe.json  preprocessing.json
           calibration.json  threshold.json  metrics.json  model_card.md

The frozen prefix is included: using the folder needs neither pretrained weights nor a network.
`xfer.exported` loads it again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from xfer.card import model_card
from xfer.card_numbers import Metrics, Notes
from xfer.data.builtin import is_drawn
from xfer.data.decode import DECODER
from xfer.errors import DataError, StoreError
from xfer.evaluate.calibration import Calibration
from xfer.evaluate.thresholds import Chosen
from xfer.exported import (
    ANTIALIASED,
    CALIBRATION,
    FORMAT,
    MARKS,
    MODEL,
    Exported,
    beside,
    load_exported,
)
from xfer.models.net import Net
from xfer.recipe import Images, Recipe, to_json
from xfer.tensorfile import digest

__all__ = ["Data", "Exported", "export", "load_exported"]


class Data(Protocol):
    """What an export tells of an `xfer.data.dataset.Dataset`."""

    @property
    def images(self) -> Images:
        """How they were looked at."""
        ...

    @property
    def interpolation(self) -> str:
        """How they were resized."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of labels."""
        ...

    @property
    def positive(self) -> int | None:
        """Index of the class that must not be missed."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(images,), indices of classes."""
        ...

    @property
    def splits(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Rows of `train`, `val` and `test`."""
        ...


def export(
    folder: Path,
    net: Net,
    recipe: Recipe,
    data: Data,
    *,
    threshold: Chosen | None,
    metrics: Metrics,
    chosen_on: str = "val",
    marks: Sequence[str] = (),
    opened: int | None = None,
    caution: str | None = None,
    calibration: Calibration | None = None,
    about: Mapping[str, Any] | None = None,
    demo: bool = False,
) -> Path:
    """Writes a model's folder, in place of the one that was there.

    All files are written under another name and flushed, then the folder is renamed: a kill at any
    instant leaves the old model or the new one. One process may write at a time.

    Args:
        folder: usually `RUN/best`.
        net: trained; neither its mode nor its device is changed.
        recipe: what it was assembled by.
        data: what it was trained on.
        threshold: for two classes, of calibrated probabilities where there is a calibration; None
            where the most probable class is the answer.
        metrics: by what was measured on (`val`, or `folds` for answers out of fold, and `test`),
            then by name: a number, or a dict with `value`, `low` and `high`. What else a part holds
            is kept in `metrics.json`.
        chosen_on: the images that the threshold was chosen on, in words; kept in `threshold.json`.
        marks: what has to stand beside every answer, as sentences; `xfer.predict` prints them.
        opened: how often the test part was, for the card; None: nobody counted.
        caution: why numbers on validation may be too good, as a sentence, for the card.
        calibration: makes probabilities of logits; None: softmax does.
        about: further lines for the card, by name: run, trial, seed, versions.
        demo: the images were synthetic; always true of what is drawn.

    Returns:
        The folder, absolute.

    Raises:
        DataError: a threshold for more than two classes, or for the first one; a calibration for
            another number of classes; metrics of a part called `marks`.
        StoreError: the folder cannot be written; the one that was there is intact.
    """
    if threshold is not None and (len(data.classes) != 2 or data.positive == 0):
        raise DataError(
            f"a threshold is for two classes, the second one the positive, got {data.classes} "
            f"with positive {data.positive}."
        )
    if calibration is not None and calibration.classes != len(data.classes):
        raise DataError(
            f"the calibration is for {calibration.classes} classes, the model has "
            f"{len(data.classes)}: {data.classes}."
        )
    if MARKS in metrics:
        raise DataError(f"metrics must be of parts such as 'val' and 'test', got {MARKS!r}.")
    folder = folder.absolute()
    demo = demo or is_drawn(data.images.path)
    state = _state(net)
    positive = None if data.positive is None else data.classes[data.positive]
    said = "The answer is the class with the highest probability."
    if threshold is not None:
        said = f"The answer is {data.classes[1]} from {threshold.value:.4g} on. {threshold.said}"
    documents = {
        "recipe.json": to_json(recipe),
        "preprocessing.json": {
            "size": data.images.size,
            "fit": data.images.fit,
            "channels": data.images.channels,
            "interpolation": f"{data.interpolation}{ANTIALIASED}",
            "decoder": DECODER,
            "mean": net.normalise.mean.flatten().tolist(),
            "std": net.normalise.std.flatten().tolist(),
            "classes": list(data.classes),
            "positive": positive,
        },
        "threshold.json": {
            **(
                asdict(threshold) if threshold else {"value": None, "rule": None, "supported": True}
            ),
            "chosen_on": chosen_on if threshold else None,
            "said": said,
        },
        CALIBRATION: {"calibration": calibration.to_json() if calibration else None},
        "metrics.json": {**metrics, MARKS: list(marks)},
    }
    card = model_card(
        recipe,
        data=Path(data.images.place).name,
        size=data.images.size,
        fit=data.images.fit,
        classes=data.classes,
        positive=positive,
        counts=_counts(data),
        said=said,
        calibration=calibration,
        metrics=metrics,
        about=about or {},
        demo=demo,
        chosen_on=chosen_on,
        notes=Notes(marks=tuple(marks), opened=opened, caution=caution),
    )
    header = json.dumps({"format": FORMAT, "digest": digest(state), "demo": demo})
    written = beside(folder, "writing")
    try:
        _settle(folder)
        shutil.rmtree(written, ignore_errors=True)  # of a process that died
        written.mkdir(parents=True)
        save_file(state, written / MODEL, metadata={"xfer": header})
        for name, document in documents.items():
            text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
            (written / name).write_text(text + "\n", encoding="utf-8")
        (written / "model_card.md").write_text(card, encoding="utf-8")
        # safetensors makes files that nobody else may read; a model is there to be shared.
        (written / MODEL).chmod((written / "model_card.md").stat().st_mode)
        for path in (*written.iterdir(), written):
            _flush(path)
        _put_in_place(written, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(written, ignore_errors=True)
        raise StoreError(f"cannot write the model to {folder}: {error}.") from error
    return folder


def _state(net: Net) -> dict[str, Tensor]:
    return {name: t.detach().cpu().contiguous() for name, t in net.state_dict().items()}


def _counts(data: Data) -> dict[str, dict[str, int]]:
    return {
        part: {
            name: int(np.count_nonzero(data.labels[rows] == label))
            for label, name in enumerate(data.classes)
        }
        for part, rows in data.splits.items()
        if len(rows)
    }


def _plain(value: Any) -> Any:
    """For strict JSON: what is not a finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _put_in_place(written: Path, folder: Path) -> None:
    old = beside(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)  # a kill from here to the next line: `_settle` puts it back
    written.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Puts the old folder back where a kill fell between the two renames."""
    old = beside(folder, "old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
