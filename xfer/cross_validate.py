"""How good is a recipe on average? One training for each fold, each scored on what it has not seen.

Within a fold the epoch is chosen on a piece of the fold's own training part, so that the images
that give the score have chosen nothing. Scores of all folds together, out of fold, are as many
honest answers as there are images: thresholds are chosen on them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch.nn.functional import cross_entropy

from xfer.checkpoint import path_of, restore_best
from xfer.chunks import blake2b
from xfer.data.folds import Fold
from xfer.errors import ModelFileError
from xfer.evaluate.answers import ranked
from xfer.evaluate.jackknife import leave_out_scores
from xfer.evaluate.metrics import evaluate_binary, evaluate_classes
from xfer.evaluate.objectives import search_score
from xfer.features import Features
from xfer.folds_result import FoldsResult
from xfer.inputs import Inputs
from xfer.logits import predict_logits
from xfer.numerics import pick_device, seed_of
from xfer.recipe import Objective, Recipe, to_json
from xfer.steps import Data, Rows, strata
from xfer.tensorfile import read_file, write_file
from xfer.train import EpochResult, fit

_FOLD = 5  # what a seed is for, beside those of xfer.seen and xfer.train


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfFold:
    """Answers to every image by the model that was trained without its fold."""

    rows: Rows
    """(images,), of the data, in the folds' order."""
    logits: npt.NDArray[np.float64]
    """(images, classes)."""
    labels: npt.NDArray[np.int64]
    """(images,)."""
    folds: int
    """How many there were."""
    scores: tuple[float, ...]
    """The search score of each, in their order."""
    sizes: tuple[int, ...]
    """Images of each, likewise."""

    @property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Their softmax, (images, classes); of very sure answers it is 0 or 1."""
        return softmax(self.logits, axis=1)


@dataclass(frozen=True, eq=False)
class _Parted:
    """The data of one fold, as `fit` reads it."""

    pixels: Any
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    patients: Sequence[str]
    subgroups: Sequence[str | None]
    splits: Mapping[str, Rows]
    digest: str


def cross_validate(
    recipe: Recipe,
    data: Data,
    folds: Sequence[Fold],
    objective: Objective,
    *,
    seed: int,
    checkpoint: Path,
    device: torch.device | str | None = None,
    features: Features | None = None,
) -> Iterator[EpochResult | FoldsResult]:
    """Trains and scores a recipe fold by fold.

    A checkpoint that is there already is gone on from, also in the middle of a fold.

    Args:
        recipe: with its number of epochs.
        data: images and labels; its splits are not looked at.
        folds: as `xfer.data.folds.cut_folds` gives them, in an order that all recipes share.
        objective: what the search score is made of.
        seed: 0 or more; each fold draws its own from it.
        checkpoint: folder; each fold has one in it, and leaves its answers there.
        device: None takes `xfer.numerics.pick_device()`.
        features: as of `fit`.

    Yields:
        an `EpochResult` after each epoch within a fold, where the caller may stop but has nothing
        to compare, and a `FoldsResult` after each fold.

    Raises:
        as `fit`.
    """
    device = pick_device() if device is None else torch.device(device)
    done: list[dict[str, Any]] = []
    for number, fold in enumerate(folds):
        digest = blake2b(data.digest.encode(), *(part.tobytes() for part in fold.parts))
        one = _Round(
            folder=checkpoint / f"fold{number}",
            run={
                "recipe": to_json(recipe),
                "objective": to_json(objective),
                "seed": seed,
                "data": digest,
            },
            data=_Parted(
                pixels=data.pixels,
                labels=data.labels,
                classes=tuple(data.classes),
                patients=data.patients,
                subgroups=data.subgroups,
                splits={"train": fold.train, "val": fold.stop},
                digest=digest,
            ),
            val=fold.val,
            objective=objective,
            device=device,
            features=features,
        )
        result = one.before()
        if result is None:
            best: dict[str, Any] = {}
            seconds, prefix = 0.0, Counter[str]()
            of_fold = seed_of(seed, 0, _FOLD, number) % 2**32
            for epoch in fit(
                recipe,
                one.data,
                objective,
                seed=of_fold,
                checkpoint=one.folder,
                device=device,
                features=features,
            ):
                seconds += epoch.seconds
                prefix.update(epoch.prefix)
                if epoch.best:
                    best = epoch.to_dict()
                yield epoch
            result = one.score(recipe, best, seconds, prefix, seed=of_fold)
        done.append(result)
        yield FoldsResult(
            epoch=number + 1,
            train=_means([each["train"] for each in done]),
            val=_means([each["val"] for each in done]),
            search_score=float(np.mean([each["score"] for each in done])),
            scores=[each["score"] for each in done],
            epochs=[each["epoch"] for each in done],
            lr=result["lr"],
            seconds=result["seconds"],
            left_out=[each.get("left_out", []) for each in done],
            prefix=result.get("prefix", {}),
        )


def read_out_of_fold(checkpoint: Path, folds: int) -> OutOfFold:
    """What `cross_validate` has left of its answers.

    Args:
        checkpoint: the folder it was given.
        folds: how many it was given.

    Raises:
        ModelFileError: a fold is missing or damaged.
    """
    files = [read_file(_file(checkpoint / f"fold{number}")) for number in range(folds)]
    parts = [tensors["val"] for _, tensors in files]
    joined = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    return OutOfFold(
        rows=joined["rows"],
        logits=joined["logits"],
        labels=joined["labels"],
        folds=folds,
        scores=tuple(header["result"]["score"] for header, _ in files),
        sizes=tuple(len(part["rows"]) for part in parts),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Round:
    """One fold of one recipe."""

    folder: Path
    run: Mapping[str, Any]
    """What its answers belong to."""
    data: _Parted
    val: Rows
    objective: Objective
    device: torch.device
    features: Features | None

    def before(self) -> dict[str, Any] | None:
        """What a finished fold has left; None where it is not finished."""
        if not _file(self.folder).is_file():
            return None
        header, _ = read_file(_file(self.folder))
        if header["run"] != json.loads(json.dumps(self.run)):
            raise ModelFileError(
                f"{_file(self.folder)} belongs to another run; delete the folder "
                f"{self.folder.parent} to train anew."
            )
        return header["result"]

    def score(
        self,
        recipe: Recipe,
        best: Mapping[str, Any],
        seconds: float,
        prefix: Counter[str],
        *,
        seed: int,
    ) -> dict[str, Any]:
        """Scores the chosen epoch on the fold, and keeps its answers in place of the model.

        Args:
            recipe: of the model.
            best: the chosen epoch's `EpochResult` as a dict.
            seconds: of training.
            prefix: of training, as `EpochResult.prefix`, summed.
            seed: of training.
        """
        net = restore_best(self.folder, device=self.device)
        inputs = Inputs(
            net,
            recipe,
            self.data.pixels,
            train=self.val[:0],
            val=self.val,
            device=self.device,
            seed=seed,
            features=self.features,
            exact=self.features is not None and self.features.settings.exact,
        )
        logits = predict_logits(net, self.data.pixels, self.val, device=self.device, inputs=inputs)
        prefix.update(asdict(inputs.counts))
        probabilities = ranked(self.objective, logits.numpy())
        labels = self.data.labels[self.val]
        subgroups = strata(self.objective, self.data, self.val)
        score, threshold = search_score(self.objective, probabilities, labels, subgroups=subgroups)
        left_out = leave_out_scores(
            self.objective,
            probabilities,
            labels,
            [self.data.patients[row] for row in self.val],
            threshold=threshold,
            subgroups=subgroups,
        )
        metrics = (
            evaluate_classes(probabilities, labels, self.data.classes)
            if threshold is None
            else evaluate_binary(probabilities[:, 1], labels, threshold=threshold)
        )
        result = {
            "score": score,
            "epoch": best["epoch"],
            "train": best["train"],
            "val": {"loss": cross_entropy(logits, torch.from_numpy(labels)).item(), **metrics},
            "lr": best["lr"],
            "seconds": seconds,
            "left_out": left_out.tolist(),
            "prefix": dict(prefix),
        }
        tensors = {"rows": self.val, "logits": logits.numpy(), "labels": labels}
        write_file(
            _file(self.folder),
            {"run": dict(self.run), "result": result},
            {"val": {name: torch.from_numpy(values) for name, values in tensors.items()}},
        )
        for which in ("last", "best"):
            path_of(self.folder, which).unlink(missing_ok=True)
        return result


def _file(folder: Path) -> Path:
    return folder / "scored.safetensors"


def _means(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}
