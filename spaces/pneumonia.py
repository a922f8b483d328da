"""Pneumonia in chest X-rays: a missed patient costs more than a false alarm.

    python -m search.run spaces/pneumonia.py
    python -m search.run spaces/pneumonia.py --data chest_xray --image-size 128 --trials 16

Without images in `data/chest_xray` the first command shows a search on built-in phantoms. The file
names are those of Kermany's X-rays of children, https://data.mendeley.com/datasets/rscbjbr9sj.
"""

from search.space import Budget, Trial
from xfer.recipe import (
    Augment,
    ConvNet,
    Head,
    HeadFirst,
    Images,
    Objective,
    OptimizerName,
    Pretrained,
    Recipe,
    Schedule,
    TargetRecall,
)

DATA = Images(
    "data/chest_xray",
    positive="PNEUMONIA",
    size=224,
    channels=1,  # X-rays are gray: a third of the disk, and backbones see the gray three times
    demo=True,
    patient=r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)",  # bacteria, virus: own numbers
    subgroup=r"(bacteria|virus)",
)
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.95))
BUDGET = Budget(minutes=60, trials=60, epochs=20)

# Fetched at the start, 445 MB in all, where they are not on this machine; --backbones names fewer.
BACKBONES = [
    "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "densenet121", "inception_v3",
    "efficientnet_b0", "convnext_tiny",
]  # fmt: skip

SCHEDULES = {
    "constant": Schedule(),
    "cosine": Schedule("cosine"),
    "exponential": Schedule("exponential", factor=0.85, every=1),  # times .85 after each epoch
    "on_plateau": Schedule("on_plateau", factor=0.3, patience=2),
    "one_cycle": Schedule("one_cycle"),
}

# Chests are never mirrored: the heart is on the left.
AUGMENTS = {"none": Augment(), "light": Augment.light()}

PLAIN = {
    "head/pool": "average", "head/dense": 0, "dropout": 0.2, "optimizer": "adam", "lr": 1e-3,
    "schedule": "constant", "batch_size": 32, "label_smoothing": 0.0, "l1": 0.0, "l2": 1e-5,
    "augment": "none", "balance": "none",
}  # fmt: skip
FROZEN = {"unfreeze_depth": 0, **PLAIN}

# Configurations people already know; tried first, in this order. What is left out is sampled.
KNOWN = {
    "mobilenet, frozen": {"model": "mobilenet_v2", **FROZEN},
    "squeezenet, frozen": {"model": "squeezenet1_1", **FROZEN},
    "three convolutions": {
        "model": "convnet", "convnet/kernels": 16, "convnet/depth": 3, "convnet/kernel_size": 3,
        "convnet/pool": "max", "convnet/batch_norm": True, "convnet/initial": "he_uniform",
        **PLAIN,
    },
    "densenet, dense layers at every position": {
        "model": "densenet121", **FROZEN, "head/pool": "positional", "head/dense": 8,
        "head/activation": "relu",
    },
    "inception, last stage": {
        "model": "inception_v3", **FROZEN, "unfreeze_depth": 1, "batch_norm": "inference",
        "lr_factor": 0.1, "lr_decay": 1.0, "head_first": 2,
    },
}  # fmt: skip


def space(trial: Trial) -> Recipe:
    """One recipe; every `suggest` names a hyperparameter and its range."""
    name = trial.suggest_categorical("model", ["convnet", *BACKBONES])
    model = convnet(trial) if name == "convnet" else pretrained(trial, name)
    thawed = isinstance(model, Pretrained) and model.unfreeze_depth > 0
    head_first = trial.suggest_categorical("head_first", [0, 2, 4]) if thawed else 0  # epochs
    optimizer: OptimizerName = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    if optimizer == "sgd":  # at 0.08, flattened features had a validation loss of 166
        lr = trial.suggest_float("sgd/lr", 1e-4, 1e-2, log=True)
    else:
        lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    return Recipe(
        model=model,
        head=head(trial),
        head_first=HeadFirst(epochs=head_first, lr=lr) if head_first else None,
        optimizer=optimizer,
        lr=lr,
        schedule=SCHEDULES[trial.suggest_categorical("schedule", list(SCHEDULES))],
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
        early_stopping=6,
        clip_norm=1.0,  # squeezenet has no batch norm: all of it trained, even at 0.0007 it burst
        label_smoothing=trial.suggest_categorical("label_smoothing", [0.0, 0.1]),
        l1=trial.suggest_categorical("l1", [0.0, 1e-6, 1e-5]),
        l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True),
        augment=AUGMENTS[trial.suggest_categorical("augment", list(AUGMENTS))],
        balance=trial.suggest_categorical(
            "balance", ["none", "class_weights", "oversample", "focal"]
        ),
    )


def convnet(trial: Trial) -> ConvNet:
    """A small network, trained from nothing."""
    kernels = trial.suggest_int("convnet/kernels", 8, 32, step=8)
    depth = trial.suggest_int("convnet/depth", 2, 4)
    return ConvNet(
        kernels=tuple(kernels * 2**layer for layer in range(depth)),  # 16, 32, 64, ...
        kernel_size=trial.suggest_int("convnet/kernel_size", 3, 7, step=2),
        pool=trial.suggest_categorical("convnet/pool", ["max", "average"]),
        batch_norm=trial.suggest_categorical("convnet/batch_norm", [False, True]),
        initial=trial.suggest_categorical(
            "convnet/initial", ["he_uniform", "glorot_uniform", "orthogonal"]
        ),
    )


def pretrained(trial: Trial, name: str) -> Pretrained:
    """A backbone that knows ImageNet: frozen, or trained from its last stage down to all of it."""
    depth = trial.suggest_int("unfreeze_depth", 0, 4)
    if depth == 0:
        return Pretrained(name)
    return Pretrained(
        name,
        unfreeze_depth=depth,
        batch_norm=trial.suggest_categorical("batch_norm", ["inference", "train"]),
        lr_factor=trial.suggest_float("lr_factor", 0.01, 1.0, log=True),  # of the head's rate
        lr_decay=trial.suggest_categorical("lr_decay", [1.0, 0.3]),  # from stage to earlier stage
    )


def head(trial: Trial) -> Head:
    """What turns features into an answer."""
    width = trial.suggest_categorical("head/dense", [0, 8, 64, 256])
    return Head(
        pool=trial.suggest_categorical(
            "head/pool", ["average", "max", "both", "flatten", "positional"]
        ),
        dense=(width,) if width else (),
        activation=(
            trial.suggest_categorical("head/activation", ["relu", "gelu", "silu"])
            if width
            else "none"
        ),
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
    )
