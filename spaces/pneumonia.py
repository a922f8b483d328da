"""Pneumonia in chest X-rays: a missed patient costs more than a false alarm.

    python -m search.run spaces/pneumonia.py
    python -m search.run spaces/pneumonia.py --data chest_xray --image-size 128 --trials 16

Without images in `data/chest_xray` the first command shows a search on built-in phantoms. The file
names are those of Kermany's X-rays of children, https://data.mendeley.com/datasets/rscbjbr9sj.
"""

from search.space import Budget, Trial
from xfer.recipe import (
    ConvNet,
    Head,
    Images,
    Objective,
    Pretrained,
    Recipe,
    Schedule,
    TargetRecall,
)

DATA = Images(
    "data/chest_xray",
    positive="PNEUMONIA",
    size=224,
    demo=True,
    patient=r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)",  # bacteria, virus: own numbers
    subgroup=r"(bacteria|virus)",
)
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.95))
BUDGET = Budget(minutes=60, trials=60, epochs=20)

FROZEN = {
    "unfreeze_depth": 0, "head/pool": "average", "head/dense": 0, "dropout": 0.2,
    "lr": 1e-3, "schedule": "constant", "batch_size": 32, "l1": 0.0, "l2": 1e-5,
}  # fmt: skip

# Configurations people already know; tried first, in this order. What is left out is sampled.
KNOWN = {
    "mobilenet, frozen": {"model": "mobilenet_v2", **FROZEN},
    "squeezenet, frozen": {"model": "squeezenet1_1", **FROZEN},
    "three convolutions": {
        "model": "convnet", "convnet/kernels": 16, "convnet/depth": 3, "convnet/kernel_size": 3,
        "convnet/batch_norm": True, "lr": 1e-3,
    },
}  # fmt: skip


def space(trial: Trial) -> Recipe:
    """One recipe; every `suggest` names a hyperparameter and its range."""
    name = trial.suggest_categorical(
        "model", ["convnet", "squeezenet1_1", "mobilenet_v2", "resnet18"]
    )
    if name == "convnet":
        kernels = trial.suggest_int("convnet/kernels", 8, 32, step=8)
        depth = trial.suggest_int("convnet/depth", 2, 4)
        model = ConvNet(
            kernels=tuple(kernels * 2**layer for layer in range(depth)),  # 16, 32, 64, ...
            kernel_size=trial.suggest_int("convnet/kernel_size", 3, 7, step=2),
            batch_norm=trial.suggest_categorical("convnet/batch_norm", [False, True]),
        )
    else:
        model = Pretrained(
            name,
            unfreeze_depth=trial.suggest_int("unfreeze_depth", 0, 4),
            lr_factor=0.1,  # pretrained stages keep what they know
        )
    dense = trial.suggest_categorical("head/dense", [0, 64, 256])
    head = Head(
        pool=trial.suggest_categorical("head/pool", ["average", "flatten"]),
        dense=(dense,) if dense else (),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
    )
    return Recipe(
        model=model,
        head=head,
        lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        schedule=Schedule(trial.suggest_categorical("schedule", ["constant", "cosine"])),
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
        early_stopping=6,
        l1=trial.suggest_categorical("l1", [0.0, 1e-6, 1e-5]),
        l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True),
    )
