"""What of a training run is on disk, and how does it go on from there?

A checkpoint folder holds `last.safetensors` and `best.safetensors`, each complete in itself:
tensors, validation's logits, and in the header recipe, objective, seed, digest of the data
and the history of epochs. `last` is written first and has all that `best` has: where a kill fell
between the two, `best` is made again from it. Only `last` has all epochs' answers to validation.

Only tensors that training changes are written. The frozen rest is assembled again from recipe, seed
and weights, and its digest compared. Random states are not kept because there are none: every epoch
seeds its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xfer.epoch_answers import with_epoch
from xfer.errors import ModelFileError
from xfer.models.assembly import assemble
from xfer.models.net import Net
from xfer.recipe import from_json
from xfer.tensorfile import Header, digest_by_tensor, prepare_folder, read_file, write_file

_FORMAT = 2

Which = Literal["last", "best"]
Tensors = dict[str, dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a checkpoint belongs to; one of another run is refused."""

    recipe: Mapping[str, Any]
    """As `xfer.recipe.to_json` gives it."""
    objective: Mapping[str, Any]
    """Likewise."""
    seed: int
    data: str
    """Digest of pixels, labels, classes and splits."""
    classes: int
    """Outputs of the model."""
    size: int
    """Side of the images, in pixels."""
    channels: int
    """Of the images."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best epoch of a run."""

    run: Run
    result: Mapping[str, Any]
    """The epoch's `EpochResult` as a dict."""
    logits: npt.NDArray[np.float64]
    """(images, classes) of the validation part, in the order of the split."""
    labels: npt.NDArray[np.int64]
    """(images,) of the same."""
    epochs: npt.NDArray[np.float32] | None
    """(epochs, images, classes), logits of each epoch that `xfer.epoch_answers` keeps; None of a
    run that began before they were kept."""


class Checkpoint:
    """One run's folder, with the model and the optimiser that are written to it and read from it.

    A single process may write to it at a time.
    """

    def __init__(self, folder: Path, run: Run, net: Net, optimizer: torch.optim.Optimizer) -> None:
        self.folder, self.run = folder, run
        self.net, self.optimizer = net, optimizer
        self.frozen = digest_by_tensor(frozen_tensors(net), net.known_digests())
        self._epochs: dict[str, Tensor] | None = {}

    def resume(self) -> list[dict[str, Any]]:
        """Loads `last` into model and optimiser, and returns its history of epochs.

        An empty list, and nothing touched, where the folder has no checkpoint yet.

        Raises:
            ModelFileError: what is there is damaged or of another run.
            StoreError: the folder cannot be made or written to.
        """
        prepare_folder(self.folder)
        if not path_of(self.folder, "last").exists():
            return []
        header, tensors = _read(self.folder, "last")
        _compare(self.folder, header, self.run)
        _load_model(self.net, tensors["model"], header, self.folder, frozen=self.frozen)
        self._load_optimizer(tensors.get("optimizer", {}), header["optimizer"])
        history: list[dict[str, Any]] = header["history"]
        self._epochs = tensors.get("epochs")
        if history[-1]["best"] and self._epoch_of_best() != history[-1]["epoch"]:
            self._write("best", header, tensors)
        return history

    def save(
        self,
        history: Sequence[Mapping[str, Any]],
        logits: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int64],
    ) -> None:
        """Writes `last`, and `best` where the last epoch of the history is the best so far.

        Args:
            history: an `EpochResult` as a dict for each epoch, the last one just finished.
            logits: (images, classes) of the validation part.
            labels: (images,) of the same.

        Raises:
            StoreError: the disk is full or cannot be written to. The checkpoint before is intact.
        """
        state = self.optimizer.state_dict()["state"]
        tensors: Tensors = {
            "model": self.net.changing(),
            "optimizer": {
                f"{index}.{key}": value
                for index, values in state.items()
                for key, value in values.items()
                if isinstance(value, Tensor)
            },
            "val": {"logits": torch.from_numpy(logits), "labels": torch.from_numpy(labels)},
        }
        if self._epochs is not None:  # some are missing where a run began before they were kept
            self._epochs = with_epoch(self._epochs, logits, history)
            tensors["epochs"] = self._epochs
        header: Header = {
            "format": _FORMAT,
            "run": asdict(self.run),
            "history": list(history),
            "frozen": self.frozen,
            "optimizer": {  # what is no tensor
                index: {k: v for k, v in values.items() if not isinstance(v, Tensor)}
                for index, values in state.items()
            },
        }
        self._write("last", header, tensors)
        if history[-1]["best"]:
            self._write("best", header, tensors)

    def _write(self, which: Which, header: Header, tensors: Tensors) -> None:
        if which == "best":  # nobody goes on from it, and epochs come after it
            tensors = {part: tensors[part] for part in ("model", "val")}
        write_file(path_of(self.folder, which), header, tensors)

    def _load_optimizer(
        self, tensors: Mapping[str, Tensor], plain: Mapping[str, dict[str, Any]]
    ) -> None:
        state = {int(index): dict(values) for index, values in plain.items()}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            # The fused rules walk state and parameter side by side: their layouts must agree.
            alike = value.shape == parameter.shape
            state[int(index)][key] = (
                torch.empty_like(parameter, requires_grad=False).copy_(value) if alike else value
            )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _epoch_of_best(self) -> int | None:
        if not path_of(self.folder, "best").exists():
            return None
        return _read(self.folder, "best")[0]["history"][-1]["epoch"]


def path_of(folder: Path, which: Which) -> Path:
    """Where a folder's `last` or `best` checkpoint is."""
    return folder / f"{which}.safetensors"


def read_best(folder: Path) -> Best:
    """The best epoch's result and validation's logits, without building the model.

    Raises:
        ModelFileError: there is none, or it is damaged.
    """
    header, tensors = _read_best(folder)
    epochs = tensors.get("epochs")
    return Best(
        run=Run(**header["run"]),
        result=header["history"][-1],
        logits=tensors["val"]["logits"].numpy(),
        labels=tensors["val"]["labels"].numpy(),
        epochs=None if epochs is None else epochs["logits"].numpy(),
    )


def restore_best(folder: Path, *, device: torch.device | str = "cpu") -> Net:
    """The model as it was after the best epoch.

    Assembled again from the run's recipe and seed, so pretrained weights must still be at hand.

    Args:
        folder: the checkpoint's.
        device: where the model goes.

    Returns:
        The model, in inference mode.

    Raises:
        ModelFileError: there is no best epoch, the file is damaged, or frozen weights changed.
        WeightsError: pretrained weights cannot be had any more.
    """
    header, tensors = _read_best(folder)
    run = Run(**header["run"])
    net = assemble(
        from_json(run.recipe),
        classes=run.classes,
        size=run.size,
        channels=run.channels,
        seed=run.seed,
    )
    frozen = digest_by_tensor(frozen_tensors(net), net.known_digests())
    _load_model(net, tensors["model"], header, folder, frozen=frozen)
    return net.to(device).eval()


def frozen_tensors(net: Net) -> dict[str, Tensor]:
    """Parameters and buffers that training changes in no phase."""
    changing = net.changing()
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    everything = parameters | dict(net.named_buffers())
    return {name: tensor for name, tensor in everything.items() if name not in changing}


def _load_model(
    net: Net, tensors: Mapping[str, Tensor], header: Header, folder: Path, *, frozen: str
) -> None:
    """Copies a checkpoint's tensors into a model."""
    into = net.changing()
    if {k: v.shape for k, v in into.items()} != {k: v.shape for k, v in tensors.items()}:
        raise ModelFileError(
            f"checkpoint {folder} has tensors of another model than its recipe builds here. "
            "Delete the folder to train anew."
        )
    if header["frozen"] != frozen:
        raise ModelFileError(
            f"checkpoint {folder} was made on frozen weights with digest {header['frozen']}; those "
            f"assembled here have {frozen}: the weights file, torch or torchvision changed. "
            "Restore it, or delete the folder to train anew."
        )
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(tensors[name])


def _read(folder: Path, which: Which) -> tuple[Header, Tensors]:
    header, tensors = read_file(path_of(folder, which))
    if header.get("format") != _FORMAT:
        raise ModelFileError(
            f"{path_of(folder, which)} has format {header.get('format')}, this version reads "
            f"{_FORMAT}; delete the folder {folder} to train anew."
        )
    return header, tensors


def _read_best(folder: Path) -> tuple[Header, Tensors]:
    """`best`, or `last` where it is the best or a kill fell between the two; with all epochs."""
    epochs: Tensors = {}
    if path_of(folder, "last").exists():
        header, tensors = _read(folder, "last")
        if header["history"][-1]["best"]:
            return header, tensors
        epochs = {part: named for part, named in tensors.items() if part == "epochs"}
    header, tensors = _read(folder, "best")
    return header, tensors | epochs


def _compare(folder: Path, header: Header, run: Run) -> None:
    there, here = header["run"], json.loads(json.dumps(asdict(run)))
    other = [name for name in here if there.get(name) != here[name]]
    if other:
        raise ModelFileError(
            f"checkpoint {folder} belongs to another run: "
            + "; ".join(_changed(name, there.get(name), here[name]) for name in other)
            + ". Choose another folder, or delete it to train anew."
        )


def _changed(name: str, before: Any, now: Any) -> str:
    """What of a value changed, in words: of a recipe the fields that did."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        fields = [key for key in now if before.get(key) != now[key]]
        return "; ".join(_changed(f"{name}.{key}", before.get(key), now[key]) for key in fields)
    if name == "data":
        return "the images, their labels or their parts are others"
    return f"{name} was {before!r}, is {now!r}"
