"""How is one recipe trained? Epoch by epoch; the caller decides when to stop.

    python -m xfer.train --recipe recipe.json --data PATH

Training repeats: order, balance, augmentation, dropout and everything else random in an epoch come
from (seed, epoch) alone, so a run that goes on from a checkpoint gives the numbers of one that was
never interrupted: bit by bit on the CPU, at the same number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from xfer.checkpoint import Checkpoint, Run
from xfer.errors import DataError, NotFinite, RecipeError
from xfer.evaluate.answers import ranked
from xfer.evaluate.jackknife import leave_out_scores
from xfer.evaluate.metrics import evaluate_binary, evaluate_classes
from xfer.evaluate.objectives import search_score
from xfer.features import Features
from xfer.logits import predict_logits
from xfer.models.assembly import assemble
from xfer.numerics import pick_device, repeatable, seed_of
from xfer.recipe import Objective, Recipe, to_json
from xfer.seen import epoch_generator
from xfer.steps import Data, Training, head_epochs, strata

_NOISE = 2  # what a seed is for: dropout and the like; the others are in xfer.seen


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch brought."""

    epoch: int
    """From 1."""
    train: dict[str, float]
    """`loss` (cross-entropy without penalties, label smoothing, class weights and focal factors)
    and `accuracy`, over the epoch's steps, while the weights change and dropout acts: of images as
    `balance` draws and `augment` changes them."""
    val: dict[str, float]
    """`loss` and all of `xfer.evaluate.metrics`; with two classes at `threshold`."""
    search_score: float
    """The objective at the epoch's own best threshold: it ranks and prunes, and estimates
    nothing."""
    threshold: float | None
    """That threshold; None for more than two classes."""
    best: bool
    """No epoch before had as high a search score."""
    lr: float
    """The head's learning rate in the epoch's last step."""
    seconds: float
    """Training and validation, and what frozen blocks had to compute for them; without writing the
    checkpoint."""
    stopped: Literal["early_stopping"] | None = None
    """Why training ends with this epoch, if it is not the recipe's last one."""
    left_out: list[float] = field(default_factory=list)
    """`search_score` without each group of validation's patients, at `threshold`, as
    `xfer.evaluate.jackknife` has it: what a difference of two recipes is measured by. Empty in
    checkpoints that are older than it."""
    prefix: dict[str, float] = field(default_factory=dict)
    """What the epoch asked of frozen blocks, as `xfer.features.Counts`: `forwards`, `hits` and
    `seconds`. It depends on what is in the store, and nothing else here does."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON holds without loss."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochResult:
        """What `to_dict` gave."""
        return cls(**values)


def fit(
    recipe: Recipe,
    data: Data,
    objective: Objective,
    *,
    seed: int,
    checkpoint: Path | None = None,
    device: torch.device | str | None = None,
    features: Features | None = None,
) -> Iterator[EpochResult]:
    """Trains a recipe and yields an `EpochResult` per epoch, after it is safe on disk.

    A checkpoint that is there already is gone on from: its epochs are yielded again as they were,
    then the next one is trained. One that is finished is only yielded again.

    Args:
        recipe: with its number of epochs.
        data: images, labels and splits.
        objective: what the search score is made of.
        seed: 0 or more; of first weights and of all that is random in an epoch.
        checkpoint: folder of this run's checkpoint; None keeps nothing.
        device: None takes `xfer.numerics.pick_device()`.
        features: what frozen blocks make of these images, kept on disk; None: it is computed in
            every epoch. The results are the same.

    Raises:
        RecipeError: no epochs in the recipe, or a model that cannot be built or trained so.
        DataError: no images to train on, or a validation part that cannot be scored.
        WeightsError: pretrained weights are not on this machine.
        NotFinite: in the step whose loss is no longer a number.
        ModelFileError: the checkpoint is damaged or of another run.
        StoreError: the checkpoint cannot be written.
    """
    if recipe.epochs is None:
        raise RecipeError("Recipe.epochs must be set before training, got None.")
    if seed < 0:
        raise RecipeError(f"seed must be at least 0, got {seed}.")
    for part in ("train", "val"):
        if len(data.splits[part]) == 0:
            raise DataError(f"the {part} part of the data has no images.")
    truth = data.labels[data.splits["val"]]
    certain = np.eye(len(data.classes))[truth]
    search_score(objective, certain, truth, subgroups=strata(objective, data, data.splits["val"]))
    device = pick_device() if device is None else torch.device(device)
    return _epochs(
        recipe, data, objective, seed=seed, folder=checkpoint, device=device, features=features
    )


def _epochs(
    recipe: Recipe,
    data: Data,
    objective: Objective,
    *,
    seed: int,
    folder: Path | None,
    device: torch.device,
    features: Features | None,
) -> Iterator[EpochResult]:
    epochs = recipe.epochs or 0
    _, size, _, channels = data.pixels[data.splits["train"][:1]].shape
    net = assemble(recipe, classes=len(data.classes), size=size, channels=channels, seed=seed)
    training = Training(
        recipe,
        net.to(device),
        data,
        epochs=epochs,
        device=device,
        seed=seed,
        features=features,
    )
    history: list[EpochResult] = []
    checkpoint = None
    if folder is not None:
        run = Run(
            recipe=to_json(recipe),
            objective=to_json(objective),
            seed=seed,
            data=data.digest,
            classes=len(data.classes),
            size=size,
            channels=channels,
        )
        checkpoint = Checkpoint(folder, run, net, training.optimizer)
        history = [EpochResult.from_dict(values) for values in checkpoint.resume()]
    yield from list(history)
    rows = data.splits["val"]
    while len(history) < epochs and not (history and history[-1].stopped):
        epoch = len(history) + 1
        started, before = perf_counter(), replace(training.inputs.counts)
        with repeatable(device, seed_of(seed, epoch, _NOISE)):
            train = training.epoch(
                epoch,
                epoch_generator(seed, epoch),
                losses=[result.val["loss"] for result in history],
            )
            logits = predict_logits(net, data.pixels, rows, device=device, inputs=training.inputs)
        val, score, threshold, left_out = _validate(logits, data, objective, epoch)
        scores = [result.search_score for result in history] + [score]
        best = 1 + int(np.argmax(scores))  # the first of equals
        waited = epoch - max(best, head_epochs(recipe))  # no epoch of the head alone counts
        patience = recipe.early_stopping
        result = EpochResult(
            epoch=epoch,
            train=train,
            val=val,
            search_score=score,
            threshold=threshold,
            best=best == epoch,
            lr=training.lr,
            seconds=perf_counter() - started,
            stopped="early_stopping" if patience is not None and waited >= patience else None,
            left_out=left_out,
            prefix=asdict(training.inputs.counts.since(before)),
        )
        history.append(result)
        if checkpoint is not None:
            checkpoint.save(
                [each.to_dict() for each in history],
                logits=logits.numpy(),
                labels=data.labels[rows],
            )
        yield result


def _validate(
    logits: Tensor, data: Data, objective: Objective, epoch: int
) -> tuple[dict[str, float], float, float | None, list[float]]:
    """Of validation's logits (images, classes): loss and metrics, search score, threshold, spread.

    The spread is `EpochResult.left_out`.
    """
    labels: npt.NDArray[np.int64] = data.labels[data.splits["val"]]
    loss = cross_entropy(logits, torch.from_numpy(labels)).item()
    if not isfinite(loss):
        raise NotFinite(
            f"the loss on validation became {loss} in epoch {epoch}; a lower lr may help."
        )
    rows = data.splits["val"]
    probabilities = ranked(objective, logits.numpy())
    subgroups = strata(objective, data, rows)
    score, threshold = search_score(objective, probabilities, labels, subgroups=subgroups)
    left_out = leave_out_scores(
        objective,
        probabilities,
        labels,
        [data.patients[row] for row in rows],
        threshold=threshold,
        subgroups=subgroups,
    )
    if threshold is None:
        metrics = evaluate_classes(probabilities, labels, data.classes)
    else:
        metrics = evaluate_binary(probabilities[:, 1], labels, threshold=threshold)
    return {"loss": loss, **metrics}, score, threshold, left_out.tolist()


if __name__ == "__main__":
    from xfer.train_command import main

    raise SystemExit(main())
