"""Which of these are eights? Real images that come with scikit-learn; one in ten is an eight.

    python -m search.run spaces/digits.py

It takes about a minute on two cores and needs neither a download nor a GPU.
"""

from search.space import Budget, Trial
from xfer.recipe import ConvNet, Head, Images, Objective, Recipe, Schedule

DATA = Images("builtin:digits", positive="8", size=16, channels=1)
OBJECTIVE = Objective("fbeta", beta=2)  # a missed eight counts more than a false one
BUDGET = Budget(minutes=1, trials=16, epochs=8)

KNOWN = {
    "two convolutions": {"kernels": 16, "depth": 2, "kernel_size": 3, "lr": 3e-3},
}


def space(trial: Trial) -> Recipe:
    """A small convolutional network."""
    kernels = trial.suggest_categorical("kernels", [8, 16, 32])
    depth = trial.suggest_int("depth", 1, 2)
    return Recipe(
        model=ConvNet(
            kernels=tuple(kernels * 2**layer for layer in range(depth)),
            kernel_size=trial.suggest_int("kernel_size", 3, 5, step=2),
            batch_norm=trial.suggest_categorical("batch_norm", [False, True]),
        ),
        head=Head(pool="flatten", dropout=trial.suggest_float("dropout", 0.0, 0.5)),
        lr=trial.suggest_float("lr", 3e-4, 3e-2, log=True),
        schedule=Schedule(trial.suggest_categorical("schedule", ["constant", "cosine"])),
        batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True),
    )
