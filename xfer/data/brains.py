"""What does a shrinking brain look like that nobody owns?

Draws gray slices of 64 x 64 pixels, a stand-in for study C's images, which nobody may pass on:
scalp, skull, cortex with furrows, white matter, the two ventricles. A brain that has lost tissue
has wider ventricles and deeper furrows. On a scale of that loss AD and MCI are two bells that
overlap, and each brain's ventricles and furrows vary besides, so that nobody can part the two
wholly. Mean and contrast of an image are drawn whatever its class. They show that a search works,
and say nothing about medicine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

VERSION = 1
"""Goes up when the same plan would be drawn otherwise: part of each image's digest."""
SIDE = 64
"""Pixels of a side."""
COUNTS = {"AD": 965, "MCI": 689}
"""Images of each class in study C; any other number of images has the same shares."""
_APART = 2.3
"""Between the middles of the two bells, in their deviation: who saw the loss itself would have an
AUROC of Phi(2.3 / sqrt 2) = .948."""


@dataclass(frozen=True, kw_only=True)
class Brain:
    """All that decides one image; each is of another patient."""

    label: str
    """AD or MCI."""
    patient: str
    """A number."""
    file_name: str
    """As a file of it would be called; nothing in it tells the class."""
    seed: tuple[int, int]
    """The run's seed, the patient's number."""


def plan_brains(count: int, *, seed: int) -> tuple[Brain, ...]:
    """Images to draw, both classes mixed evenly.

    The first images of a longer plan are those of a shorter one.
    """
    share = COUNTS["AD"] / sum(COUNTS.values())
    plan = []
    for number in range(1, count + 1):
        more = round(number * share) > round((number - 1) * share)
        patient = f"brain{number:04d}"
        plan.append(
            Brain(
                label="AD" if more else "MCI",
                patient=patient,
                file_name=f"{patient}.png",
                seed=(seed, number),
            )
        )
    return tuple(plan)


def draw_brain(brain: Brain) -> np.ndarray:
    """The image: uint8 (SIDE, SIDE)."""
    rng = np.random.default_rng((*brain.seed, 3))
    middle = _APART / 2 if brain.label == "AD" else -_APART / 2
    loss = rng.normal(middle, 1)  # of tissue
    x, y = _grid(rng)
    angle, radius = np.arctan2(y, x), np.hypot(x / 0.70, y / 0.86)
    head = radius - 0.02 * np.sin(3 * angle + rng.uniform(0, 2 * math.pi))

    brain_edge = rng.uniform(0.84, 0.89)
    furrows = _furrows(angle, head / brain_edge, loss, rng)
    cortex = brain_edge - rng.uniform(0.13, 0.18) * (1 + 0.35 * furrows)
    image = 0.75 * _within(head, 1.0) - 0.60 * _within(head, 0.94)  # scalp, then skull
    image = image + 0.45 * _within(head, brain_edge) * (1 - 0.75 * furrows)
    image = image + 0.28 * _within(head, cortex)
    image = image * (1 - 0.8 * _ventricles(x, y, loss, rng))
    image = image * (1 - 0.5 * _cleft(x, y, rng))
    return _exposed(image, rng)


def _grid(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in about [-1, 1], y downwards, moved, turned and scaled: (SIDE, SIDE) twice."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    turn = rng.normal(0, 5) * math.pi / 180
    wide, high = rng.uniform(0.92, 1.12), rng.uniform(0.92, 1.08)
    x, y = x - rng.normal(0, 0.05), y - rng.normal(0, 0.05)
    return (
        wide * (math.cos(turn) * x - math.sin(turn) * y),
        high * (math.sin(turn) * x + math.cos(turn) * y),
    )


def _furrows(
    angle: np.ndarray, depth: np.ndarray, loss: float, rng: np.random.Generator
) -> np.ndarray:
    """1 in a furrow, 0 outside: thin wedges from the rim of the brain inwards."""
    reach = np.clip(0.15 + 0.03 * loss + rng.normal(0, 0.03), 0.04, 0.32)
    wide = np.clip(0.06 + 0.012 * loss + rng.normal(0, 0.015), 0.015, 0.12)
    count = int(rng.integers(14, 19))
    first = 2 * math.pi * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
    bend, length = rng.normal(0, 0.5, count), reach * rng.uniform(0.5, 1.5, count)
    inwards = (1 - depth)[..., None]  # (SIDE, SIDE, 1), and so are angles; (count,) below
    away = (angle[..., None] - first - bend * inwards + math.pi) % (2 * math.pi) - math.pi
    return (_soft((length - inwards) / 0.03) * np.exp(-((away / wide) ** 2))).max(axis=-1)


def _ventricles(x: np.ndarray, y: np.ndarray, loss: float, rng: np.random.Generator) -> np.ndarray:
    """1 in a ventricle, 0 outside: on each side of the middle a front and a back horn."""
    size = math.exp(0.13 * loss + rng.normal(0, 0.14))
    found = np.zeros_like(x)
    for side in (-1, 1):
        own = size * math.exp(rng.normal(0, 0.08))  # the two are not quite alike
        for horn in (-1, 1):
            middle = horn * rng.uniform(0.14, 0.22)
            lean = side * horn * rng.uniform(0.1, 0.6)
            across = side * (x - side * 0.115 * math.sqrt(own) - lean * (y - middle))
            inside = np.hypot(across / (0.065 * own), (y - middle) / (0.22 * math.sqrt(own)))
            found = np.maximum(found, _soft((1 - inside) / 0.12))
    return found


def _cleft(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The line between the halves, in front and behind."""
    away = x - rng.normal(0, 0.03) * y
    return np.exp(-((away / 0.025) ** 2)) * (np.abs(y) > 0.38) * (np.abs(y) < 0.76)


def _exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven field and grain; then a mean and a contrast that know no class, and 8 bits."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    image = image * (1 + rng.normal(0, 0.1) * axis[None, :] + rng.normal(0, 0.1) * axis[:, None])
    image = image + rng.normal(0, rng.uniform(0.02, 0.05), image.shape)
    image = (image - image.mean()) / image.std()
    image = rng.uniform(80, 115) + rng.uniform(38, 60) * image
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def _within(distance: np.ndarray, rim: np.ndarray | float) -> np.ndarray:
    """1 where a distance is below the rim, 0 above, soft between."""
    return _soft((rim - distance) / 0.025)


def _soft(steps: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(steps, -30, 30)))
