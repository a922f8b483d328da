"""What does a shipped model say about these images?"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xfer.answers import Answer, Unread
from xfer.data.decode import SUFFIXES, DecodeError, decode_image, looks_like_image, read_image_file
from xfer.errors import DataError
from xfer.evaluate.calibration import Calibration, moved
from xfer.exported import Exported
from xfer.logits import predict_logits
from xfer.numerics import pick_device


def predict(
    exported: Exported,
    paths: Iterable[Path],
    *,
    threshold: float | None = None,
    prevalence: float | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> Iterator[Answer | Unread]:
    """Answers for image files, in their order; `batch_size` of them are in memory at a time.

    Args:
        exported: the model; it is moved to the device.
        paths: of files.
        threshold: in place of the model's own, compared with the probabilities of the answers; of
            no effect with more than two classes.
        prevalence: share of the second class where the images come from; None: as where the model
            was calibrated. It moves probabilities and the model's own threshold alike.
        batch_size: images per forward pass.
        device: None takes `xfer.numerics.pick_device()`.
    """
    device = device or pick_device()
    exported.net.to(device)
    calibration, deciding = exported.calibration, threshold
    if prevalence is not None:
        calibration = at_prevalence(exported, prevalence)
    if threshold is None:
        deciding = exported.threshold
        threshold = None if deciding is None else moved(deciding, exported.calibration, calibration)
        asked = exported.calibration  # what is moved by rounding only may not change a decision
    else:
        asked = calibration
    remaining = iter(paths)
    while batch := list(islice(remaining, batch_size)):
        read = [_read(path, exported) for path in batch]
        images = [pixels for pixels in read if not isinstance(pixels, Unread)]
        logits = np.empty((0, len(exported.classes)))
        if images:
            logits = _logits(exported, np.stack(images), device)
        told = iter(_probabilities(calibration, logits))
        decided = iter(_decisions(_probabilities(asked, logits), deciding))
        for path, pixels in zip(batch, read, strict=True):
            if isinstance(pixels, Unread):
                yield pixels
            else:
                yield _answer(str(path), next(told), next(decided), exported.classes, threshold)


def at_prevalence(exported: Exported, prevalence: float) -> Calibration:
    """The model's calibration where its second class has another share.

    Raises:
        DataError: a prevalence outside (0, 1), several classes, or a model without calibration.
    """
    if len(exported.classes) != 2:
        raise DataError(
            f"--prevalence is for two classes, this model has {len(exported.classes)}: "
            f"{', '.join(exported.classes)}."
        )
    if exported.calibration is None:
        raise DataError(
            "--prevalence moves calibrated probabilities, and this model was exported without a "
            "calibration; what a search of this version exports has one."
        )
    return exported.calibration.shifted(prevalence)


def probabilities(
    exported: Exported, pixels: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float64]:
    """Probabilities (images, classes) of pixels (images, size, size, channels), as in training.

    Calibrated where the model has a calibration.
    """
    return _probabilities(exported.calibration, _logits(exported, pixels, device))


def find_images(given: Iterable[Path]) -> list[Path]:
    """Files as they were given, folders looked through for images, in order of names.

    In folders, hidden files are passed over, and so is what neither is named nor begins as an
    image. A file that was given by itself is always taken.
    """
    found: list[Path] = []
    for path in given:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = [Path(folder) / name for name in sorted(names) if not name.startswith(".")]
            found += [f for f in files if f.suffix.lower() in SUFFIXES or looks_like_image(f)]
    return found


def _read(path: Path, exported: Exported) -> npt.NDArray[np.uint8] | Unread:
    images = exported.images
    try:
        raw = read_image_file(path)
        return decode_image(
            raw,
            size=images.size,
            fit=images.fit,
            channels=images.channels,
            interpolation=exported.interpolation,
        )
    except DecodeError as error:
        return Unread(name=str(path), reason=error.reason)


def _logits(
    exported: Exported, pixels: npt.NDArray[np.uint8], device: torch.device
) -> npt.NDArray[np.float64]:
    rows = np.arange(len(pixels))
    return predict_logits(exported.net, pixels, rows, device=device).numpy()


def _probabilities(
    calibration: Calibration | None, logits: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    if calibration is not None:
        return calibration.apply(logits)
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()


def _decisions(by_class: npt.NDArray[np.float64], threshold: float | None) -> npt.NDArray[np.int64]:
    if threshold is None:
        return by_class.argmax(axis=1)
    return (by_class[:, 1] >= threshold).astype(np.int64)


def _answer(
    name: str,
    by_class: npt.NDArray[np.float64],
    decided: int,
    classes: tuple[str, ...],
    threshold: float | None,
) -> Answer:
    return Answer(
        name=name,
        probability=float(by_class[1 if len(classes) == 2 else decided]),
        decision=classes[decided],
        threshold=threshold,
        probabilities=dict(zip(classes, by_class.tolist(), strict=True)),
    )
