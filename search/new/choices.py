"""Which numbers does a first space get? Plain rules, and the words that say them."""

from __future__ import annotations

from dataclasses import dataclass

from search.new.seen import Seen
from xfer.models.table import TABLE

LEAST_SIZE, MOST_SIZE, MOST_SIZE_ON_CPU = 64, 224, 160
"""Side of the images, in pixels; pretrained weights have learnt on 224."""
STEP = 32
"""What a side is a multiple of: backbones halve it five times."""
TARGETS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
"""Recalls that may be asked for."""
ROOM = 2
"""Positive ones that it must be possible to miss and still reach it; else one odd image decides."""
RECALL_WEIGHT = 0.75
TRIALS = 40
START_MINUTES, MOST_MINUTES, IMAGES_A_MINUTE = 15, 120, 20
"""A minute for so many images and core."""
GPU_CORES = 16
"""What one GPU counts as."""
UNEQUAL = 1.5
"""How many times the rarest class the most frequent has, from which on something is tried."""
SMALL = (
    "mobilenet_v2", "squeezenet1_1", "resnet18", "efficientnet_b0", "mobilenet_v3_large",
    "densenet121",
)  # fmt: skip
"""Backbones that a first search is well served by, in the order in which they are named."""
ENOUGH = 2
"""Of them that must be here; where fewer are, the first that are not are named too, and fetched."""
MANY = 2_000
"""Images from which on all of a backbone may be trained; fewer are soon known by heart."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the search will run on."""

    cores: int
    """That this process may use."""
    gpus: int
    """That torch sees."""
    at_hand: tuple[str, ...]
    """Backbones whose weights are here."""

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        from search.workers import plan
        from xfer.models.weights import at_hand

        slots = plan()
        cores = slots.workers * slots.threads
        gpus = slots.workers if slots.device == "cuda" else 0
        return cls(cores=cores, gpus=gpus, at_hand=tuple(name for name in TABLE if at_hand(name)))


@dataclass(frozen=True, kw_only=True)
class Target:
    """A recall that the positives there are can vouch for."""

    recall: float
    """With 95 % confidence."""
    positives: int
    """Images, or patients, on whose answers the threshold will be chosen, about."""
    missed: int
    """How many of them may be missed in doing so."""
    alone: int
    """Likewise those of validation: on them it is chosen where no trial is trained again."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What is written into the space."""

    size: int
    """Side of the images, in pixels."""
    channels: int
    """1 where all that was looked at is gray."""
    target: Target | None
    """None: several classes, or too few positives for any."""
    minutes: int
    """Of the search."""
    epochs: int
    """Of a trial."""
    batches: tuple[int, ...]
    """Images per step."""
    depth: int
    """Most stages of a backbone that are trained."""
    backbones: tuple[str, ...]
    """In the order of the space."""
    fetched: tuple[str, ...]
    """Those of them whose weights are not here."""
    offered: tuple[str, ...]
    """Others, for a comment; not here."""
    counts: tuple[int, ...]
    """Images of each class that a model tells apart."""

    @property
    def unequal(self) -> bool:
        """Whether something is tried about classes of unequal size."""
        return max(self.counts) >= UNEQUAL * max(1, min(self.counts))


def choose(seen: Seen, machine: Machine) -> Choices:
    """The numbers for these images on this machine."""
    images = len(seen.source.items)
    here = [name for name in SMALL if name in machine.at_hand]
    absent = [name for name in SMALL if name not in machine.at_hand]
    fetched = absent[: max(0, ENOUGH - len(here))]
    at, totals = seen.source.positive, [0] * len(seen.source.classes)
    for item in seen.source.items:
        totals[item.label] += 1
    counts = totals if at is None else [images - totals[at], totals[at]]
    return Choices(
        size=_size(seen.sizes.shorter, MOST_SIZE if machine.gpus else MOST_SIZE_ON_CPU),
        channels=1 if seen.sizes.gray == seen.sizes.looked else 3,
        target=None if at is None else target(*seen.vouching(at)),
        minutes=_minutes(images, machine),
        epochs=20 if images < MANY else 12,
        batches=_batches(seen),
        depth=4 if images >= MANY else 2,
        backbones=(*here, *fetched),
        fetched=tuple(fetched),
        offered=tuple(name for name in absent if name not in fetched),
        counts=tuple(counts),
    )


def target(positives: int, alone: int) -> Target | None:
    """The highest recall of the list that so many positives can vouch for with some missed.

    >>> target(300, 60), target(10, 2)
    (Target(recall=0.95, positives=300, missed=8, alone=60), None)
    """
    for recall in TARGETS:
        missed = may_miss(recall, positives)
        if missed >= ROOM:
            return Target(recall=recall, positives=positives, missed=missed, alone=alone)
    return None


def may_miss(recall: float, positives: int) -> int:
    """How many may be missed while the lower bound reaches a recall; -1: not even none."""
    from xfer.evaluate.intervals import lower_bound

    missed = 0
    while missed <= positives and lower_bound(positives - missed, positives) >= recall:
        missed += 1
    return missed - 1


def _size(shorter: int, most: int) -> int:
    """The largest multiple that images fill.

    >>> [_size(side, 224) for side in (28, 100, 250, 4_000)]
    [64, 96, 224, 224]
    """
    return min(max(shorter // STEP * STEP, LEAST_SIZE), most)


def _minutes(images: int, machine: Machine) -> int:
    cores = machine.cores + GPU_CORES * machine.gpus
    minutes = START_MINUTES + images / (IMAGES_A_MINUTE * cores)
    return min(MOST_MINUTES, 5 * round(minutes / 5))


def _batches(seen: Seen) -> tuple[int, ...]:
    """Two sizes, the larger at most half of what is trained on, and 32; of very few images one."""
    parts = seen.counts
    train = sum(parts["train"]) if "train" in parts else int(0.64 * sum(parts["all"]))
    largest = 2
    while largest < 32 and 2 * largest <= train // 2:
        largest *= 2
    return (largest // 2, largest) if largest > 2 else (2,)  # batch norm needs two
