"""How does a winner that was scored on folds become one model? It is trained once more, whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.trials import TrialRow, trial_seed
from xfer.recipe import Objective, from_json

if TYPE_CHECKING:
    from xfer.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Trials were scored on folds: the winner is still to be trained as a whole."""

    seed: int
    """The run's."""
    threads: int
    """Of torch, as trials had them."""


def train_whole(
    folder: Path, best: TrialRow, data: Dataset, objective: Objective, folded: Folded
) -> Path:
    """Trains a trial's recipe on train, with val to choose its epoch.

    Args:
        folder: of the checkpoint; one that is there is gone on from.
        best: the trial.
        data: with pixels for its model.
        objective: by which the epoch is chosen.
        folded: of the run.

    Returns:
        the folder.
    """
    from xfer.features import Features
    from xfer.numerics import pick_device, set_threads
    from xfer.train import fit

    set_threads(folded.threads)
    seed = trial_seed(folded.seed, best.number)
    device = pick_device()
    for _ in fit(
        from_json(best.recipe),
        data.without("test"),
        objective,
        seed=seed,
        checkpoint=folder,
        device=device,
        features=Features.of_data(data.without("test"), device=device),
    ):
        pass
    return folder
