"""How does a file of tensors and values get to disk and back, whole or not at all?

A file is written under another name in the same folder, flushed and renamed: a kill at any
instant leaves the file before or the new one, and a reader never finds neither. What is read is
compared with the digest that was written, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from xfer.errors import ModelFileError, StoreError

Header = dict[str, Any]
Parts = Mapping[str, Mapping[str, Tensor]]

_WRITING = ".writing"


def prepare_folder(folder: Path) -> None:
    """Makes a folder that `write_file` can write to, and clears what a killed process left there.

    Raises:
        StoreError: it cannot be made or written to.
    """
    try:
        if (folder / _WRITING).exists():
            shutil.rmtree(folder / _WRITING)
        (folder / _WRITING).mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write to folder {folder}: {error}") from error


def write_file(path: Path, header: Header, parts: Parts) -> None:
    """Writes a header and named tensors, in parts, to a safetensors file; all of it or nothing.

    Args:
        path: in a folder that `prepare_folder` has seen.
        header: JSON.
        parts: tensors by part and name; part names have no slash.

    Raises:
        StoreError: the disk is full or cannot be written to; a file that was there is intact.
    """
    flat = {
        f"{part}/{name}": tensor.cpu().contiguous()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    text = json.dumps(header)
    made = path.parent / _WRITING / path.name
    try:
        save_file(flat, made, metadata={"header": text, "digest": _digest_of_all(text, flat)})
        _flush(made)
        made.replace(path)
    except (OSError, SafetensorError) as error:
        made.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error}. What was there before is intact; make room on the disk "
            "and start again, it goes on from there."
        ) from error


def read_file(path: Path) -> tuple[Header, dict[str, dict[str, Tensor]]]:
    """Header and tensors of a file that `write_file` wrote.

    Raises:
        ModelFileError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}.")
    damaged = f"{path} is damaged; delete the folder {path.parent} to train anew"
    try:
        # Not safe_open: it opens the file by name a second time, for the tensors, and where the
        # file is replaced in between it takes the header of one and the tensors of the other.
        raw = path.read_bytes()
        flat = load(raw)
        end = 8 + int.from_bytes(raw[:8], "little")
        metadata = json.loads(raw[8:end])["__metadata__"]
        text, noted = metadata["header"], metadata["digest"]
    except (SafetensorError, OSError, KeyError) as error:
        raise ModelFileError(f"{damaged} ({type(error).__name__}: {error}).") from error
    if noted != _digest_of_all(text, flat):
        raise ModelFileError(f"{damaged} (its digest does not match).")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in flat.items():
        part, rest = name.split("/", 1)
        parts.setdefault(part, {})[rest] = tensor
    return json.loads(text), parts


def digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b over names, types, shapes and bytes, in order of names."""
    sums = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sums.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        sums.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sums.hexdigest()


Place = tuple[int, int]
"""Where a tensor's values lie in memory, and how many bytes they take."""


def place_of(tensor: Tensor) -> Place:
    """Two tensors of one place have the same values."""
    return tensor.data_ptr(), tensor.numel() * tensor.element_size()


def digest_of_tensor(tensor: Tensor) -> str:
    """BLAKE2b over type, shape and bytes."""
    return digest({"": tensor})


def digest_by_tensor(
    tensors: Mapping[str, Tensor], known: Mapping[Place, str] | None = None
) -> str:
    """BLAKE2b over names and the digest of each tensor, in order of names.

    Args:
        tensors: by name.
        known: digests of contiguous tensors that somebody has at hand, by where they lie.
    """
    known = known or {}
    sums = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        found = known.get(place_of(tensor)) if tensor.is_contiguous() else None
        sums.update(f"{name} {found or digest_of_tensor(tensor)};".encode())
    return sums.hexdigest()


def _digest_of_all(text: str, tensors: Mapping[str, Tensor]) -> str:
    return blake2b(f"{digest(tensors)} {text}".encode(), digest_size=16).hexdigest()


def _flush(path: Path) -> None:
    """Waits until a file's content is on the disk.

    Its new name need not be: after a power cut the old file would be there, and whole.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
