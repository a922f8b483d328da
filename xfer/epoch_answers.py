"""What did each epoch answer on validation? Kept, because one of them is chosen by these answers.

How much luck is in a choice can be told only with all that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

MOST_EPOCHS = 30
"""Epochs that are kept, those with the best search scores: of 600 images and two classes 144 kB."""


def with_epoch(
    kept: Mapping[str, Tensor],
    logits: npt.NDArray[np.float64],
    history: Sequence[Mapping[str, Any]],
) -> dict[str, Tensor]:
    """What is kept, and one epoch more; of more than MOST_EPOCHS the worst goes.

    Which ones are kept follows from the history alone. Of equal scores the latest epoch goes: a
    search takes the first.

    Args:
        kept: `logits`, float32 (epochs, images, classes), and `epochs`, int64 (epochs,), from 1 and
            rising; empty before the first.
        logits: (images, classes) of the last epoch of the history. A model gives float32: nothing
            of them is lost.
        history: an `EpochResult` as a dict for each epoch so far.
    """
    answers, epochs = torch.from_numpy(logits).float()[None], torch.tensor([len(history)])
    if kept:
        answers = torch.cat([kept["logits"], answers])
        epochs = torch.cat([kept["epochs"], epochs])
    if len(epochs) > MOST_EPOCHS:
        places = range(len(epochs))
        scores = [history[epoch - 1]["search_score"] for epoch in epochs.tolist()]
        worst = min(places, key=lambda place: (scores[place], -place))
        stay = [place for place in places if place != worst]
        answers, epochs = answers[stay], epochs[stay]
    return {"logits": answers, "epochs": epochs}
