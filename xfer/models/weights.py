"""Where are pretrained weights, how do they get there, and what do they expect of an image?

A file that is there is taken as it is, by its name: people convert, prune and retrain. A file that
is fetched must have the digest in its name. Nothing is unpickled but tensors.
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from xfer.errors import WeightsError
from xfer.models.backbone import classifier_shapes
from xfer.models.limits import backbone_named
from xfer.models.table import TABLE

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Where one backbone's weights come from and where they belong."""

    name: str
    """The backbone."""
    url: str
    """Where torchvision fetches it from."""
    path: Path
    """In torch.hub's folder, which `TORCH_HOME` moves."""

    @property
    def digest(self) -> str | None:
        """First digits of the SHA-256, as torch.hub writes them into names; None: not in there."""
        found = re.search(r"-([a-f0-9]{8,})\.", self.path.name)
        return found.group(1) if found else None


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What weights expect of an image."""

    mean: tuple[float, ...]
    """Per channel, of values in [0, 1]; subtracted."""
    std: tuple[float, ...]
    """Per channel; divided by."""
    interpolation: str
    """How images were resized in training, as torchvision spells it: `bilinear`, `bicubic`."""


def _enum(name: str) -> Any:
    row = backbone_named(name)
    from torchvision.models import get_model_weights

    return get_model_weights(name)[row.weights]


@cache
def preprocessing(name: str) -> Preprocessing:
    """From torchvision's description of a backbone's weights; the file itself is not needed."""
    transforms = _enum(name).transforms()
    return Preprocessing(
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def weights_file(name: str) -> WeightsFile:
    """Where a backbone's weights come from and belong, now (`TORCH_HOME` is read at each call).

    Raises:
        RecipeError: no such backbone.
    """
    return WeightsFile(name=name, url=_enum(name).url, path=_path(name))


def at_hand(name: str) -> bool:
    """Whether a backbone's weights are on this machine.

    Raises:
        RecipeError: no such backbone.
    """
    return _path(name).is_file()


def _path(name: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / backbone_named(name).file


# --------------------------------------------------------------------------------------------------
# Fetching


def fetch(
    names: Iterable[str], *, offline: bool = False, timeout_s: float = 30.0, progress: bool = False
) -> None:
    """Makes sure that the weights of all these backbones are on this machine.

    Args:
        names: of backbones; one that comes twice counts once.
        offline: do not try the network.
        timeout_s: longest silence of the server, in seconds.
        progress: show a bar on stderr.

    Raises:
        RecipeError: no such backbone.
        WeightsError: some weights are missing and could not be fetched; all are named, with the
            file, the folder for it and the ways out. What could be fetched stays.
    """
    files = [weights_file(name) for name in dict.fromkeys(names)]
    fetch_files(files, offline=offline, timeout_s=timeout_s, progress=progress)


def fetch_files(
    files: Sequence[WeightsFile], *, offline: bool, timeout_s: float, progress: bool
) -> None:
    """As `fetch`, for files that are named outright."""
    failed: list[tuple[WeightsFile, str]] = []
    for file in files:
        if file.path.is_file():
            continue
        if offline:
            failed.append((file, "not on this machine, and --offline forbids to fetch it"))
            continue
        try:
            _download(file, timeout_s=timeout_s, progress=progress)
        except (OSError, RuntimeError, ValueError) as error:
            # OSError: network, disk, time limit; RuntimeError: torch.hub's wrong digest;
            # ValueError: an address it cannot read.
            failed.append((file, f"cannot be fetched: {error or type(error).__name__}"))
    if failed:
        raise WeightsError(_told(failed))


def _download(file: WeightsFile, *, timeout_s: float, progress: bool) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.path.with_name(f".{file.path.name}.lock")):
        if file.path.is_file():  # another process was quicker
            return
        _LOG.info("fetching %s to %s", file.url, file.path)
        with _silence_limit(timeout_s):
            # Writes under another name, compares digests, then renames.
            torch.hub.download_url_to_file(
                file.url, str(file.path), hash_prefix=file.digest, progress=progress
            )


@contextmanager
def _silence_limit(timeout_s: float) -> Iterator[None]:
    """torch.hub passes no time limit on, so the default of all new sockets is set meanwhile."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _told(failed: Sequence[tuple[WeightsFile, str]]) -> str:
    names = ", ".join(file.name for file, _ in failed)
    lines = [f"no pretrained weights for {names}."]
    for file, why in failed:
        lines.append(f"  {file.name}: {file.path.name} {why}")
        lines.append(f"    from {file.url}")
    folders = ", ".join(dict.fromkeys(str(file.path.parent) for file, _ in failed))
    lines.append(f"Put the files into {folders} (TORCH_HOME moves it),")
    missing = {file.name for file, _ in failed}
    there = [name for name in TABLE if name not in missing and at_hand(name)]
    if there:
        lines.append(f"or search those that are there: --backbones {','.join(there)},")
    else:
        lines.append("or narrow the space with --backbones (none of the table's is there),")
    lines.append("or start from random weights: --weights none.")
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------
# Loading


def read_weights(name: str) -> dict[str, Tensor]:
    """A backbone's pretrained weights, with torchvision's classifier, on the CPU.

    Raises:
        RecipeError: no such backbone.
        WeightsError: the file is missing, cannot be read, or does not fit the model exactly.
    """
    file = weights_file(name)
    if not file.path.is_file():
        raise WeightsError(_told([(file, "is not on this machine")]))
    try:
        state = torch.load(file.path, map_location="cpu", weights_only=True)
        state = {_today(key): value for key, value in state.items()}
        found = {key: value.shape for key, value in state.items()}
    except Exception as error:  # a damaged file fails in the reader, in zip or in pickle
        raise WeightsError(_unfit(file, f"cannot be read ({error or type(error).__name__})")) from (
            error
        )
    expected = classifier_shapes(name)
    missing = [
        key for key in expected if key not in found and not key.endswith("num_batches_tracked")
    ]
    unexpected = [key for key in found if key not in expected]
    reshaped = [
        f"{key} {tuple(found[key])} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    wrong = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for kind, keys in (
            ("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped),
        )
        if keys
    ]  # fmt: skip
    if wrong:
        raise WeightsError(_unfit(file, f"does not fit: {'; '.join(wrong)}"))
    return state


def _today(key: str) -> str:
    """Some files are older than torchvision's names, which it renames as it loads them.

    >>> _today("features.denseblock1.denselayer1.norm.1.weight")
    'features.denseblock1.denselayer1.norm1.weight'
    >>> _today("encoder.layers.encoder_layer_0.mlp.linear_2.bias")
    'encoder.layers.encoder_layer_0.mlp.3.bias'
    """
    key = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)
    return key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3.")


def _unfit(file: WeightsFile, why: str) -> str:
    return (
        f"{file.path} {why}. It must hold torchvision's weights of {file.name}; remove it to have "
        f"it fetched from {file.url}, or start from random weights: --weights none."
    )
