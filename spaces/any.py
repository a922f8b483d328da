"""Any folder of images, with a folder for each class.

python -m search.run spaces/any.py --data photos --positive smoking     one class against the rest
python -m search.run spaces/any.py --data photos                        all classes
"""

from search.space import Budget, Trial
from xfer.recipe import (
    Augment,
    ConvNet,
    Head,
    Images,
    Objective,
    Pretrained,
    Recipe,
    Schedule,
    TargetRecall,
)

DATA = Images(  # --data says where they are
    "path/to/your/images",
    size=128,
    # Found in names such as patient012_3.png or sub-7/left.jpg; write your own where names differ.
    patient=r"(?i)((?:patient|person|subject|case|sub|pid)[-_ ]?\d+(?:_(?:bacteria|virus))?)",
)
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.95))
BUDGET = Budget(minutes=30, trials=40, epochs=15)

AUGMENTS = {"none": Augment(), "light": Augment.light(), "strong": Augment.strong()}

PLAIN = {
    "head/dense": 0, "dropout": 0.2, "lr": 1e-3, "schedule": "constant", "batch_size": 32,
    "l2": 1e-5, "augment": "none", "balance": "none",
}  # fmt: skip
FROZEN = {"unfreeze_depth": 0, **PLAIN}
KNOWN = {
    "mobilenet, frozen": {"model": "mobilenet_v2", **FROZEN},
    "squeezenet, frozen": {"model": "squeezenet1_1", **FROZEN},
    "three convolutions": {
        "model": "convnet",
        "convnet/kernels": 16,
        "convnet/depth": 3,
        **PLAIN,
    },
}


def space(trial: Trial) -> Recipe:
    """A pretrained backbone, frozen or in part trained, or a small network of its own."""
    name = trial.suggest_categorical(
        "model", ["convnet", "squeezenet1_1", "mobilenet_v2", "resnet18"]
    )
    if name == "convnet":
        kernels = trial.suggest_categorical("convnet/kernels", [8, 16, 32])
        depth = trial.suggest_int("convnet/depth", 2, 4)
        model = ConvNet(
            kernels=tuple(kernels * 2**layer for layer in range(depth)), batch_norm=True
        )
    else:
        model = Pretrained(
            name,
            unfreeze_depth=trial.suggest_int("unfreeze_depth", 0, 4),
            lr_factor=0.1,  # pretrained stages keep what they know
        )
    dense = trial.suggest_categorical("head/dense", [0, 64, 256])
    return Recipe(
        model=model,
        head=Head(
            dense=(dense,) if dense else (),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
        ),
        lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
        schedule=Schedule(trial.suggest_categorical("schedule", ["constant", "cosine"])),
        batch_size=trial.suggest_categorical("batch_size", [16, 32]),
        early_stopping=5,
        clip_norm=1.0,
        l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True),
        augment=AUGMENTS[trial.suggest_categorical("augment", list(AUGMENTS))],
        balance=trial.suggest_categorical("balance", ["none", "class_weights", "oversample"]),
    )
