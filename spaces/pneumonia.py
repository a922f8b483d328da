"""Pneumonia in chest X-rays: a missed patient costs more than a false alarm.

Two studies asked this by hand. A: which frozen backbone, with how small a head, and do dropout,
augmentation or more images of the rare class help? B, on the official test part: where to end the
backbone, and is training a window in its middle better than training none? Their experiments are
A1 ... A11 and B1 ... B6 here; docs/studies.md has what came of them.

    python -m search.run spaces/pneumonia.py
    python -m search.run spaces/pneumonia.py --data chest_xray --image-size 128 --trials 16
    python -m search.run spaces/pneumonia.py --known-only --known 'B*' --data chest_xray
    python -m search.run spaces/pneumonia.py --known-only --known 'A*' --data chest_xray \
        --resplit --test-share 0.15

Without images in `data/chest_xray` the first command shows a search on built-in phantoms. The file
names are those of Kermany's X-rays of children, https://data.mendeley.com/datasets/rscbjbr9sj.
"""

from search.space import Budget, Published, Trial
from xfer.recipe import (
    Augment,
    Balance,
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
    TargetRecall,
)

DATA = Images(
    "data/chest_xray",
    positive="PNEUMONIA",
    size=256,  # B's; A had 255, at which all maps and all counts of parameters are the same
    channels=1,  # X-rays are gray: a third of the disk, and backbones see the gray three times
    demo=True,
    patient=r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+)",  # bacteria, virus: own numbers
    subgroup=r"(bacteria|virus)",
)
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75, threshold=TargetRecall(0.95))
BUDGET = Budget(minutes=60, trials=60, epochs=20)

# Fetched at the start, 687 MB in all, where they are not on this machine; --backbones names fewer.
BACKBONES = [
    "squeezenet1_1", "mobilenet_v2", "resnet18", "resnet50", "resnet152", "densenet121",
    "inception_v3", "efficientnet_b0", "convnext_tiny",
]  # fmt: skip

# Places in those backbones that the studies used, and the nearest to them in the others, by the
# names of `python -m xfer.models NAME`. Inception's are the studies' own, to the parameter.
RESNET = {
    "third convolution": ("layer1.0.conv2", "layer1.0.bn2"),
    "last convolution": ("layer4.2.conv3", "layer4.2.bn3"),
}
SEVENS = ("7x7_1", "7x7_2", "7x7dbl_1", "7x7dbl_2", "7x7dbl_3", "7x7dbl_4")
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "squeezenet1_1": {
        "third convolution": ("features.3.expand1x1", "features.3.expand3x3"),
        "last convolution": ("features.12.expand3x3",),
        "window": ("features.7",),
    },
    "mobilenet_v2": {
        "third convolution": ("features.1.conv.1", "features.1.conv.2"),
        "last convolution": ("features.18.0", "features.18.1"),
        "window": ("features.8", "features.9", "features.10"),
    },
    "resnet50": RESNET | {"window": ("layer3.1",)},
    "resnet152": RESNET | {"window": ("layer3.14",)},
    "densenet121": {
        "third convolution": (
            "features.denseblock1.denselayer1.norm2", "features.denseblock1.denselayer1.conv2",
        ),
        "last convolution": ("features.denseblock4.denselayer16.conv2", "features.norm5"),
        "window": tuple(f"features.denseblock3.denselayer{n}" for n in range(5, 13)),
    },
    "inception_v3": {
        "third convolution": ("Conv2d_2b_3x3.conv", "Conv2d_2b_3x3.bn.bias", "Conv2d_3b_1x1.conv"),
        "last convolution": ("Mixed_7c.branch_pool.conv", "Mixed_7c.branch1x1.bn.bias"),
        "window": tuple(f"Mixed_6c.branch{b}.{p}" for b in SEVENS for p in ("conv", "bn.bias")),
    },
}  # fmt: skip
CUTS = {
    "squeezenet1_1": "features.11.squeeze", "mobilenet_v2": "features.15.conv.2",
    "resnet50": "layer4.0.conv2", "resnet152": "layer4.0.conv2",
    "densenet121": "features.denseblock4.denselayer15.conv1",
    "inception_v3": "Mixed_7b.branch3x3_1.conv",
}  # fmt: skip

SCHEDULES = {
    "constant": Schedule(),
    "cosine": Schedule("cosine"),
    "exponential": Schedule("exponential", factor=0.85, every=1),  # B's: times .85 after each epoch
    "on_plateau": Schedule("on_plateau", factor=0.3, patience=2),
    "one_cycle": Schedule("one_cycle"),
}

# Chests are never mirrored: the heart is on the left.
AUGMENTS = {"none": Augment(), "rotation": Augment.study_a(), "light": Augment.light()}

# What both studies share. A names no optimiser, rate, batch or epochs, B no rate or batch.
STUDY = {
    "head/activation": "relu", "head/drop_features": False, "dropout": 0.0, "optimizer": "adam",
    "lr": 1e-3, "batch_size": 32, "clip_norm": 0.0, "label_smoothing": 0.0, "l1": 0.0, "l2": 0.0,
    "augment": "none", "balance": "none",
}  # fmt: skip
FROZEN = {"trained": "stages", "unfreeze_depth": 0}
THAWED = {"batch_norm": "train", "lr_factor": 1.0, "lr_decay": 1.0, "head_first": 0}

A = STUDY | {"head/pool": "positional", "schedule": "constant"}
A1 = A | FROZEN | {"model": "inception_v3", "cut": False, "head/dense": 10, "head/second": 6}
A2 = A1 | {"dropout": 0.2}
A4 = A1 | {"model": "resnet50", "head/dense": 8, "head/second": 5}
A6 = A4 | {"model": "densenet121"}  # the study gives no widths: A4's come to its 8,887 parameters
TEN = A | THAWED | {"model": "inception_v3", "head/dense": 10, "head/second": 0}
A9 = TEN | {"trained": "third convolution", "cut": False, "dropout": 0.2}
A10 = TEN | {"trained": "last convolution"}  # no cut: it would take that away

B = STUDY | {
    "head/pool": "flatten", "head/dense": 128, "head/second": 0, "dropout": 0.1,
    "schedule": "exponential",
}  # fmt: skip
B3 = B | FROZEN | {"model": "inception_v3", "cut": True}
B4 = B | THAWED | {"model": "inception_v3", "cut": True, "trained": "window"}

# Ours: cheap, and what is left where the studies' backbones are not at hand.
PLAIN = {
    "head/pool": "average", "head/dense": 0, "dropout": 0.2, "optimizer": "adam", "lr": 1e-3,
    "schedule": "constant", "batch_size": 32, "clip_norm": 1.0, "label_smoothing": 0.0, "l1": 0.0,
    "l2": 1e-5, "augment": "none", "balance": "none",
}  # fmt: skip
OURS = PLAIN | FROZEN | {"cut": False}

# Configurations people already know; tried first, in this order: ours, then the studies'.
KNOWN = {
    "mobilenet, frozen": OURS | {"model": "mobilenet_v2"},
    "squeezenet, frozen": OURS | {"model": "squeezenet1_1"},
    "three convolutions": PLAIN | {
        "model": "convnet", "convnet/kernels": 16, "convnet/depth": 3, "convnet/kernel_size": 3,
        "convnet/pool": "max", "convnet/batch_norm": True, "convnet/initial": "he_uniform",
    },
    "A1": A1,
    "A2": A2,
    "A3": A2 | {"augment": "light"},
    "A4": A4,
    "A5": A4 | {"augment": "rotation"},
    "A6": A6,
    "A7": A6 | {"dropout": 0.2},
    "A8": A6 | {"augment": "light"},
    "A9": A9,
    "A10": A10,
    "A11": A2 | {"balance": "oversample"},
    "B1": B3 | {"model": "resnet152"},
    "B2": B3 | {"model": "densenet121"},
    "B3": B3,
    "B4": B4,
    "B5": B4 | {"augment": "light", "balance": "oversample", "oversample/augmented": True},
    "B6": B3 | {"model": "resnet50", "cut": False, "balance": "class_weights"},
}  # fmt: skip

LIGHT = "The study does not say how images are changed: ours are by Augment.light()."
SHARE = "The study gives no share of dropout: ours is 0.2, that of A2."
# What the studies reported, each of its own test part: A of 879 images, B of the official 624.
PUBLISHED = {
    "A1": Published(precision=0.9664, recall=0.9860, matrix=((216, 22), (9, 632))),
    "A2": Published(precision=0.9521, recall=0.9922, matrix=((206, 32), (5, 636))),
    "A3": Published(precision=0.8987, recall=0.9969, matrix=((166, 72), (2, 639)), differs=LIGHT),
    "A4": Published(accuracy=0.9295),
    "A5": Published(
        precision=0.9678, recall=0.9376, matrix=((218, 20), (40, 601)),
        differs="The study gives no angle: ours is at most 10 degrees to either side.",
    ),
    "A6": Published(precision=0.9680, recall=0.9922, matrix=((217, 21), (5, 636))),
    "A7": Published(precision=0.9623, recall=0.9953, matrix=((213, 25), (3, 638)), differs=SHARE),
    "A8": Published(precision=0.9650, recall=0.9891, matrix=((215, 23), (7, 634)), differs=LIGHT),
    "A9": Published(precision=0.9574, recall=0.9813, matrix=((210, 28), (12, 629)), differs=SHARE),
    "A10": Published(precision=0.9813, recall=0.9797, matrix=((226, 12), (13, 628))),
    "A11": Published(
        precision=0.9839, recall=0.9516, matrix=((228, 10), (31, 610)),
        differs="Normal images are drawn again anew in each epoch; the study's copies stayed.",
    ),
    "B1": Published(
        accuracy=0.73, precision=0.70, recall=0.98,
        differs="Cut a convolution later: in torchvision the one before has a map twice as wide.",
    ),
    "B2": Published(accuracy=0.78, precision=0.74, recall=1.0, matrix=((99, 135), (0, 390))),
    "B3": Published(accuracy=0.782, precision=0.74, recall=0.99),
    "B4": Published(accuracy=0.75, precision=0.72, recall=0.99, matrix=((83, 151), (5, 385))),
    "B5": Published(
        accuracy=0.81, precision=0.77, recall=1.0, matrix=((117, 117), (1, 389)), differs=LIGHT
    ),
    "B6": Published(
        accuracy=0.80, precision=0.76, recall=1.0,
        differs="The study names no cut: ours is the whole ResNet-50.",
    ),
}  # fmt: skip


def space(trial: Trial) -> Recipe:
    """One recipe; every `suggest` names a hyperparameter and its range."""
    name = trial.suggest_categorical("model", ["convnet", *BACKBONES])
    model = convnet(trial) if name == "convnet" else pretrained(trial, name)
    thawed = isinstance(model, Pretrained) and (model.unfreeze_depth > 0 or model.train is not None)
    head_first = trial.suggest_categorical("head_first", [0, 2, 4]) if thawed else 0  # epochs
    optimizer: OptimizerName = trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    if optimizer == "sgd":  # at 0.08, flattened features had a validation loss of 166
        lr = trial.suggest_float("sgd/lr", 1e-4, 1e-2, log=True)
    else:
        lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    augment = AUGMENTS[trial.suggest_categorical("augment", list(AUGMENTS))]
    return Recipe(
        model=model,
        head=head(trial),
        head_first=HeadFirst(epochs=head_first, lr=lr) if head_first else None,
        optimizer=optimizer,
        lr=lr,
        schedule=SCHEDULES[trial.suggest_categorical("schedule", list(SCHEDULES))],
        batch_size=trial.suggest_categorical("batch_size", [16, 32, 64]),
        early_stopping=5,  # B's; A says nothing of it
        # squeezenet has no batch norm: all of it trained, even at 0.0007 it burst without a limit
        clip_norm=trial.suggest_categorical("clip_norm", [0.0, 1.0]) or None,
        label_smoothing=trial.suggest_categorical("label_smoothing", [0.0, 0.1]),
        l1=trial.suggest_categorical("l1", [0.0, 1e-6, 1e-5]),
        l2=trial.suggest_categorical("l2", [0.0, 1e-6, 1e-5, 1e-4, 1e-3]),
        augment=augment,
        balance=balance(trial, augment),
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
    """A backbone that knows ImageNet: frozen, or trained in part; whole, or cut before its end."""
    part, cut = "stages", False
    if name in PARTS:
        part = trial.suggest_categorical("trained", ["stages", *PARTS[name]])
        if part != "last convolution":  # a cut takes it away
            cut = trial.suggest_categorical("cut", [False, True])
    depth = trial.suggest_int("unfreeze_depth", 0, 4) if part == "stages" else 0
    end = CUTS[name] if cut else None
    if part == "stages" and depth == 0:
        return Pretrained(name, cut_after=end)
    return Pretrained(
        name,
        unfreeze_depth=depth,
        train=None if part == "stages" else PARTS[name][part],
        cut_after=end,
        batch_norm=trial.suggest_categorical("batch_norm", ["inference", "train"]),
        lr_factor=trial.suggest_float("lr_factor", 0.01, 1.0, log=True),  # of the head's rate
        lr_decay=trial.suggest_categorical("lr_decay", [1.0, 0.3]),  # from stage to earlier stage
    )


def head(trial: Trial) -> Head:
    """What turns features into an answer."""
    pool: Pool = trial.suggest_categorical(
        "head/pool", ["average", "max", "both", "flatten", "positional"]
    )
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    width = trial.suggest_categorical("head/dense", [0, 8, 10, 64, 128, 256])
    if not width:
        return Head(pool=pool, dropout=dropout)
    second = trial.suggest_categorical("head/second", [0, 5, 6, 32])
    drop_features = trial.suggest_categorical("head/drop_features", [False, True])
    dense = (width, second) if second else (width,)
    return Head(
        pool=pool,
        dense=dense,
        activation=trial.suggest_categorical("head/activation", ["relu", "gelu", "silu"]),
        dropout=(dropout if drop_features else 0.0, *(dropout for _ in dense)),
    )


def balance(trial: Trial, augment: Augment) -> Balance:
    """What is done about one class being three times the other."""
    how: Balance = trial.suggest_categorical(
        "balance", ["none", "class_weights", "oversample", "undersample", "focal"]
    )
    if how == "oversample" and augment.mode != "none":  # B5: only what is drawn again is changed
        augmented = trial.suggest_categorical("oversample/augmented", [False, True])
        return "oversample_augmented" if augmented else how
    return how
