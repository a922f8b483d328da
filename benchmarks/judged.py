"""How good is a run's best model so far, on images that neither side has seen?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.replayed import Trial

if TYPE_CHECKING:
    from benchmarks.sides import Ended


def leaders(trials: Sequence[Ended]) -> list[int]:
    """Places in the list of those that were the best by validation when they ended, in time."""
    found: list[int] = []
    for place in sorted(range(len(trials)), key=lambda i: trials[i].seconds):
        if not trials[place].may_win:
            continue
        if not found or trials[place].auroc > trials[found[-1]].auroc:
            found.append(place)
    return found


def judge(ended: Sequence[Ended], score: Callable[[int], float]) -> tuple[tuple[float, float], ...]:
    """As `Run.held_back` has it."""
    return tuple((ended[i].seconds, score(i)) for i in leaders(ended))


def stock_auroc(root: Path, weights: Path, trial: Trial, checkpoint: Path) -> float:
    """Of a checkpoint of stock, on the images held back below `root`."""
    from torch.utils.data import DataLoader

    from benchmarks.stock import auroc, load_model, load_part, predict

    part = load_part(root, "held_back", image_size=trial.image_size)
    with _torch_home(weights):
        model = load_model(asdict(trial), checkpoint)
    return auroc(*predict(model, DataLoader(part, batch_size=64), device="cpu"))


def our_auroc(root: Path, weights: Path, checkpoint: Path, *, size: int) -> float:
    """Of a checkpoint of ours, on the same images."""
    import numpy as np
    import torch

    from benchmarks.stock import auroc
    from xfer.checkpoint import restore_best
    from xfer.data.decode import decode_image
    from xfer.logits import predict_logits

    folders = sorted((root / "held_back").iterdir())
    files = [(label, file) for label, folder in enumerate(folders) for file in folder.iterdir()]
    pixels = np.stack([decode_image(file.read_bytes(), size=size) for _, file in files])
    with _torch_home(weights):
        net = restore_best(checkpoint)
    logits = predict_logits(net, pixels, np.arange(len(pixels)), device=torch.device("cpu"))
    return auroc(logits.softmax(dim=1)[:, 1], torch.tensor([label for label, _ in files]))


@contextmanager
def _torch_home(weights: Path) -> Iterator[None]:
    from search.workers import set_variables

    with set_variables({"TORCH_HOME": str(weights)}):
        yield
