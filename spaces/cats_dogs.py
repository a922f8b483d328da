"""Cats against dogs, from few images.

Study D asked whether changed copies of a few hundred images help a pretrained network. Its four
columns are D1 ... D4 here; docs/studies.md has what came of them.

    python -m search.run spaces/cats_dogs.py
    python -m search.run spaces/cats_dogs.py --known-only --known 'D*' --data cats_dogs
"""

from dataclasses import replace

from search.space import Budget, Published, Trial
from xfer.recipe import (
    Augment,
    ConvNet,
    Head,
    HeadFirst,
    Images,
    Objective,
    OptimizerName,
    Pool,
    Pretrained,
    Recipe,
    Schedule,
)

DATA = Images("data/cats_dogs", positive="dogs", size=224, demo=True)
OBJECTIVE = Objective("balanced_accuracy")  # there are as many cats as dogs: it is the accuracy
BUDGET = Budget(minutes=60, trials=40, epochs=50)  # 20 of the head alone, then 30

AUGMENTS = {
    "none": Augment(),
    "one change": Augment.study_d(),
    "light": Augment.light(),
    "strong": Augment.strong(),
}
SCHEDULES = {
    "constant": Schedule(),
    "cosine": Schedule("cosine"),
    "exponential": Schedule("exponential", factor=0.002, every=100_000, per="step"),  # the study's
}

# The study gives no batch.
STUDY = {
    "unfreeze_depth": 1, "batch_norm": "train", "lr_factor": 1.0, "head_first": 20,
    "head/pool": "flatten", "flatten/dense": 4096, "dropout": 0.0, "optimizer": "sgd",
    "schedule": "exponential", "batch_size": 32, "clip_norm": 0.0, "l1": 0.0, "l2": 0.0,
    "early_stopping": 0, "augment": "none",
}  # fmt: skip
# The study's rate. Squeezenet in its place learned nothing at it (96 pixels, 3 epochs: loss 8.4).
VGG = STUDY | {"model": "vgg16", "sgd/lr": 0.1}
RESNET = STUDY | {"model": "resnet50", "sgd/lr": 0.01}
FIFTY = {"augment": "one change", "augment/views": 50}

KNOWN = {  # ours, then the columns of the study's table, in its order
    "three convolutions": {  # ours: what is left where no pretrained weights are at hand
        "model": "convnet", "convnet/kernels": 16, "convnet/depth": 3, "convnet/kernel_size": 3,
        "convnet/batch_norm": True, "head/pool": "average", "average/dense": 0, "dropout": 0.2,
        "optimizer": "adam", "lr": 1e-3, "schedule": "constant", "batch_size": 32,
        "clip_norm": 1.0, "l1": 0.0, "l2": 1e-5, "early_stopping": 10, "augment": "none",
    },
    "D1": VGG | FIFTY,
    "D2": VGG,
    "D3": RESNET | FIFTY,
    "D4": RESNET,
}  # fmt: skip

# A recipe's schedule begins with the second phase. In the study's first one the rate had fallen to
# .38 of itself with 50 images of each (15,400 steps of 32), and to .98 without.
STEADY = "The rate stays as it is while the head is trained alone; the study's fell from the start."
PREPARED = (
    f"{STEADY} Images are prepared as ResNet-50's weights expect; the study's were only divided by "
    "255. Its last stage is trained, three blocks; the study says the last block."
)
# Of 100 test images. On training images the four had 1.00, .9858, .6906 and .744, on validation
# .835, .9095, .649 and .60.
PUBLISHED = {
    "D1": Published(accuracy=0.87, differs=STEADY),
    "D2": Published(accuracy=0.899, differs=STEADY),
    "D3": Published(accuracy=0.632, differs=PREPARED),
    "D4": Published(accuracy=0.695, differs=PREPARED),
}


def space(trial: Trial) -> Recipe:
    """A pretrained network, its head first and then its last stages; or a small one."""
    name = trial.suggest_categorical(
        "model", ["convnet", "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "vgg16"]
    )
    model = convnet(trial) if name == "convnet" else pretrained(trial, name)
    thawed = isinstance(model, Pretrained) and model.unfreeze_depth > 0
    head_first = trial.suggest_categorical("head_first", [0, 5, 20]) if thawed else 0  # epochs
    optimizer: OptimizerName = trial.suggest_categorical("optimizer", ["adam", "sgd"])
    if optimizer == "sgd":
        lr = trial.suggest_float("sgd/lr", 1e-4, 0.1, log=True)
    else:
        lr = trial.suggest_float("lr", 1e-5, 1e-2, log=True)
    return Recipe(
        model=model,
        head=head(trial),
        head_first=HeadFirst(epochs=head_first, lr=lr) if head_first else None,
        optimizer=optimizer,
        lr=lr,
        schedule=SCHEDULES[trial.suggest_categorical("schedule", list(SCHEDULES))],
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
        clip_norm=trial.suggest_categorical("clip_norm", [0.0, 1.0]) or None,
        l1=trial.suggest_categorical("l1", [0.0, 1e-6, 1e-5]),
        l2=trial.suggest_categorical("l2", [0.0, 1e-5, 1e-4, 1e-3]),
        early_stopping=trial.suggest_categorical("early_stopping", [0, 10]) or None,
        augment=augment(trial),
    )


def convnet(trial: Trial) -> ConvNet:
    """A small network, trained from nothing."""
    kernels = trial.suggest_categorical("convnet/kernels", [8, 16, 32])
    depth = trial.suggest_int("convnet/depth", 3, 5)
    return ConvNet(
        kernels=tuple(kernels * 2**layer for layer in range(depth)),
        kernel_size=trial.suggest_int("convnet/kernel_size", 3, 7, step=2),
        batch_norm=trial.suggest_categorical("convnet/batch_norm", [False, True]),
    )


def pretrained(trial: Trial, name: str) -> Pretrained:
    """A backbone that knows ImageNet, frozen or trained from its last stage down."""
    depth = trial.suggest_int("unfreeze_depth", 0, 4)
    if depth == 0:
        return Pretrained(name)
    return Pretrained(
        name,
        unfreeze_depth=depth,
        batch_norm=trial.suggest_categorical("batch_norm", ["inference", "train"]),
        lr_factor=trial.suggest_float("lr_factor", 0.01, 1.0, log=True),  # of the head's rate
    )


def head(trial: Trial) -> Head:
    """What turns features into an answer; dropout before the outputs."""
    pool: Pool = trial.suggest_categorical("head/pool", ["average", "flatten"])
    if pool == "average":
        width = trial.suggest_categorical("average/dense", [0, 256])
    else:  # 4096, the study's, are 411 million parameters on ResNet-50's map: 5 GB with SGD
        width = trial.suggest_categorical("flatten/dense", [64, 256, 4096])
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    if not width:
        return Head(pool=pool, dropout=dropout)
    return Head(pool=pool, dense=(width,), dropout=(0.0, dropout))


def augment(trial: Trial) -> Augment:
    """How training images are changed: anew in each epoch, or the study's into so many of each."""
    name = trial.suggest_categorical("augment", list(AUGMENTS))
    if name != "one change":
        return AUGMENTS[name]
    views = trial.suggest_categorical("augment/views", [1, 5, 50])  # an epoch has as many images
    return replace(AUGMENTS[name], mode="views" if views > 1 else "fresh", views=views)
