"""What was answered on the test part? RUN/tested.npz: the winner's answers, and every experiment's.

Written with every opening of the test part, read by `search.compare`. Arrays without pickle.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from search.errors import RunError

if TYPE_CHECKING:
    import numpy as np

WINNER = "winner"
"""What the first answers are called; the rest have names of known configurations."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tested:
    """Answers of n models to the same test images."""

    __test__: ClassVar[bool] = False  # by its name pytest would take it for a test

    names: tuple[str, ...]
    """(n,): `WINNER` first, then experiments by name, each once."""
    numbers: np.ndarray
    """int64 (n,): trial numbers."""
    thresholds: np.ndarray
    """float64 (n,): from which on an image counts as positive. NaN, all of them, where the most
    probable of several classes is the answer."""
    probabilities: np.ndarray
    """float64 (n, images, classes): calibrated for the winner, the raw softmax for all others.
    In single precision very sure answers would tie at 1."""
    labels: np.ndarray
    """int64 (images,): positions in `classes`."""
    images: tuple[str, ...]
    """(images,): digests of the files."""
    patients: tuple[str, ...]
    """(images,): digests of whose they are."""
    classes: tuple[str, ...]
    """(classes,): names; with a threshold there are two, and the positive one is the second."""

    @property
    def binary(self) -> bool:
        """Whether there is a positive class, and thresholds."""
        return bool((self.thresholds == self.thresholds).all())


def write_tested(path: Path, tested: Tested) -> None:
    """Writes a file so that readers see all of it or what was there before.

    Raises:
        ValueError: the fields do not fit together.
        RunError: the disk is full, or the folder cannot be written.
    """
    import numpy as np

    arrays = {
        "names": np.array(tested.names, np.str_),
        "numbers": np.asarray(tested.numbers, np.int64),
        "thresholds": np.asarray(tested.thresholds, np.float64),
        "probabilities": np.asarray(tested.probabilities, np.float64),
        "labels": np.asarray(tested.labels, np.int64),
        "images": np.array(tested.images, np.str_),
        "patients": np.array(tested.patients, np.str_),
        "classes": np.array(tested.classes, np.str_),
    }
    if wrong := _problems(arrays):
        raise ValueError(f"these answers cannot be kept: {'; '.join(wrong)}.")
    writing = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        writing.replace(path)
    except OSError as error:
        with suppress(OSError):
            writing.unlink()
        raise RunError(
            f"cannot write {path}: {error.strerror or error}. Make room, or choose a folder that "
            "can be written."
        ) from error


def read_tested(path: Path) -> Tested:
    """What `write_tested` wrote.

    Raises:
        RunError: there is no such file, or it is damaged.
    """
    import numpy as np

    if not path.is_file():
        raise RunError(
            f"{path} is missing: the run was made by an earlier version, or its test part was not "
            "opened."
        )
    due = [field.name for field in fields(Tested)]
    try:
        # Bytes, not the path: NumPy leaves a damaged file open.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file[name] for name in due if name in file.files}
    except _UNREADABLE as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    wrong = [f"{name} is missing" for name in due if name not in arrays] or _problems(arrays)
    if wrong:
        raise _damaged(path, "; ".join(wrong))
    texts = {
        name: tuple(arrays[name].tolist()) for name in ("names", "images", "patients", "classes")
    }
    return Tested(
        numbers=arrays["numbers"].astype(np.int64),
        thresholds=arrays["thresholds"].astype(np.float64),
        probabilities=arrays["probabilities"].astype(np.float64),
        labels=arrays["labels"].astype(np.int64),
        **texts,
    )


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged ({why}); copy it again from where the run was made.")


_UNREADABLE = (
    OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError,
    KeyError, SyntaxError, RuntimeError, OverflowError, MemoryError, struct.error,
)  # fmt: skip
"""What NumPy, zipfile and zlib were seen to raise of files with changed or missing bytes."""

_KINDS = {
    "names": "U", "numbers": "iu", "thresholds": "f", "probabilities": "f", "labels": "iu",
    "images": "U", "patients": "U", "classes": "U",
}  # fmt: skip


def _problems(arrays: dict[str, Any]) -> list[str]:
    """What does not fit together, in words."""
    import numpy as np

    wrong = [
        f"{name} are of type {arrays[name].dtype}"
        for name, kinds in _KINDS.items()
        if arrays[name].dtype.kind not in kinds
    ]
    names, classes = arrays["names"], arrays["classes"]
    count, images, kinds = names.size, arrays["images"].size, classes.size
    shapes = {
        "names": (count,), "numbers": (count,), "thresholds": (count,),
        "probabilities": (count, images, kinds), "labels": (images,), "images": (images,),
        "patients": (images,), "classes": (kinds,),
    }  # fmt: skip
    wrong += [
        f"{name} have shape {arrays[name].shape} and not {shape}"
        for name, shape in shapes.items()
        if arrays[name].shape != shape
    ]
    if wrong:
        return wrong
    if not count or names[0] != WINNER:
        wrong.append(f"the first of names must be {WINNER!r}")
    if len(set(names[1:].tolist())) != max(0, count - 1):
        wrong.append("names of experiments must be different")
    if not images:
        wrong.append("there are no images")
    if kinds < 2 or len(set(classes.tolist())) != kinds:
        wrong.append("classes must be two or more, and different")
    probabilities, labels, thresholds = (
        arrays[name] for name in ("probabilities", "labels", "thresholds")
    )
    if not (np.isfinite(probabilities) & (probabilities >= 0) & (probabilities <= 1)).all():
        wrong.append("probabilities must be in [0, 1]")
    elif (np.abs(probabilities.sum(axis=2, dtype=np.float64) - 1) > 1e-3).any():
        wrong.append("probabilities of an image must sum to 1")
    if ((labels < 0) | (labels >= kinds)).any():
        wrong.append("labels must be positions in classes")
    unset = np.isnan(thresholds)
    if unset.any() and not unset.all():
        wrong.append("thresholds must be numbers, or all NaN")
    elif not unset.any() and kinds != 2:
        wrong.append("thresholds need two classes, and must be NaN with several")
    return wrong
