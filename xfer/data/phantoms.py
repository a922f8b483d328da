"""What does a chest look like that nobody owns?

Draws gray images with the outline of a chest radiograph: body, two lung fields, heart, diaphragm,
ribs, vessels. PNEUMONIA has soft opacities in the lung fields, graded in size and strength: one
large area (`bacteria`) or several small ones (`virus`). NORMAL has none. Both differ in anatomy,
position, exposure, noise, vessels and markers, so that no pixel and no mean gives the class away.
They show that a search works, and say nothing about medicine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

VERSION = 1
"""Goes up when the same plan would be drawn otherwise: part of each image's digest."""
SIDE = 128
"""Pixels of a side."""
_DENSITY, _MOTTLE = 0.14, 0.42
"""An opacity's mean and patchiness at full strength, of the image's range. More density, and a
linear model on pixels sees it (0.42 without patches: AUROC .86 from 200 images); so it has .66."""


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """All that decides one image."""

    label: str
    """NORMAL or PNEUMONIA."""
    subgroup: str | None
    """`bacteria` or `virus` where there is pneumonia."""
    patient: str
    """As the pattern of spaces/pneumonia.py finds it in the names of Kermany's files."""
    file_name: str
    """In the Kermany set's manner."""
    seed: tuple[int, int, int]
    """The run's seed, the patient's number, the image's number within the patient."""


def plan_phantoms(count: int, *, seed: int) -> tuple[Phantom, ...]:
    """Images to draw: patients with one to three each, healthy and ill ones in turn.

    The first images of a longer plan are those of a shorter one.
    """
    rng = np.random.default_rng((seed, 0))
    plan: list[Phantom] = []
    number = 0
    while len(plan) < count:
        number += 1
        images = int(rng.integers(1, 4))
        subgroup = None if number % 2 else ("bacteria", "virus")[int(rng.integers(2))]
        if subgroup is None:
            patient = ("IM-", "NORMAL2-IM-")[int(rng.integers(2))] + f"{number:04d}"
        else:
            patient = f"person{number}_{subgroup}"
        for k in range(1, images + 1):
            file_name = f"{patient}-{k:04d}.jpeg" if subgroup is None else f"{patient}_{k}.jpeg"
            plan.append(
                Phantom(
                    label="NORMAL" if subgroup is None else "PNEUMONIA",
                    subgroup=subgroup,
                    patient=patient,
                    file_name=file_name,
                    seed=(seed, number, k),
                )
            )
    return tuple(plan[:count])


def draw_phantom(phantom: Phantom) -> np.ndarray:
    """The image: uint8 (SIDE, SIDE)."""
    seed, number, k = phantom.seed
    person = np.random.default_rng((seed, 1, number))  # anatomy: the same in all of a patient
    view = np.random.default_rng((seed, 2, number, k))  # position, exposure, noise: each image's
    x, y = _grid(view)
    fields = [_Field(side, person) for side in (-1, 1)]
    body = _soft(1 - _ellipse(x, y - 0.25, width=0.92, height=1.25), 12)
    air = np.maximum(*(field.inside(x, y) for field in fields))
    image = 0.75 * body - 0.42 * air
    image += (
        0.30 * air * _soft(1 - _ellipse(x - 0.16, y - 0.32, width=0.27, height=0.36), 7)
    )  # heart
    image += 0.14 * body * np.exp(-((x / 0.10) ** 2))  # spine
    image += _ribs(x, y, person) * body
    for field in fields:
        image += field.vessels(x, y, person) * air
    if phantom.subgroup is not None:
        focal = phantom.subgroup == "bacteria"
        image += _opacities(x, y, fields, focal=focal, person=person, view=view) * air
    image += _marker(x, y, view)
    return _exposed(image, view)


class _Field:
    """One lung field: a leaning ellipse."""

    def __init__(self, side: int, rng: np.random.Generator) -> None:
        self.side = side
        self.x = side * rng.uniform(0.40, 0.46)
        self.y = rng.uniform(0.0, 0.10)
        self.width = rng.uniform(0.28, 0.35)
        self.height = rng.uniform(0.58, 0.74)
        self.lean = side * rng.uniform(0.06, 0.16)

    def inside(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """1 in the field, 0 outside, soft between: (SIDE, SIDE)."""
        down = y - self.y
        across = x - self.x - self.lean * down
        return _soft(1 - _ellipse(across, down, width=self.width, height=self.height), 14)

    def place(self, rng: np.random.Generator) -> tuple[float, float]:
        """A point well inside of the field."""
        angle, radius = rng.uniform(0, 2 * math.pi), 0.8 * math.sqrt(rng.uniform())
        dy = self.height * radius * math.sin(angle)
        return self.x + self.lean * dy + self.width * radius * math.cos(angle), self.y + dy

    def vessels(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Thin bright lines from the root of the lung outwards."""
        lines = np.zeros_like(x)
        root_x, root_y = self.x - self.side * self.width * 0.8, self.y
        for _ in range(int(rng.integers(5, 10))):
            tip_x, tip_y = self.place(rng)
            dx, dy = tip_x - root_x, tip_y - root_y
            length = math.hypot(dx, dy) + 1e-6
            along = np.clip(((x - root_x) * dx + (y - root_y) * dy) / length**2, 0, 1)
            bend = rng.normal(0, 0.06) * np.sin(math.pi * along)
            away = ((x - root_x) * dy - (y - root_y) * dx) / length - bend
            past = np.hypot(x - root_x - along * dx, y - root_y - along * dy)
            near = np.where((along > 0) & (along < 1), np.abs(away), past)
            width = 0.022 * (1 - 0.7 * along)
            lines = np.maximum(lines, rng.uniform(0.06, 0.16) * np.exp(-((near / width) ** 2)))
        return lines


def _grid(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in about [-1, 1], y downwards, moved, turned and scaled: (SIDE, SIDE) twice."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    turn = rng.normal(0, 4) * math.pi / 180
    scale = rng.uniform(0.92, 1.1)
    x, y = x - rng.normal(0, 0.05), y - rng.normal(0, 0.05)
    return (
        scale * (math.cos(turn) * x - math.sin(turn) * y),
        scale * (math.sin(turn) * x + math.cos(turn) * y),
    )


def _ribs(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first, gap = rng.uniform(-0.75, -0.65), rng.uniform(0.17, 0.21)
    slope, strength = rng.uniform(0.35, 0.6), rng.uniform(0.04, 0.08)
    curve = y - slope * (np.abs(x) - 0.45) ** 2 * 2
    return sum(strength * np.exp(-(((curve - first - gap * i) / 0.03) ** 2)) for i in range(8)) * (
        np.abs(x) > 0.1
    )


def _opacities(
    x: np.ndarray,
    y: np.ndarray,
    fields: list[_Field],
    *,
    focal: bool,
    person: np.random.Generator,
    view: np.random.Generator,
) -> np.ndarray:
    cloud = np.zeros_like(x)
    grade = person.uniform(0.25, 1.0) * view.uniform(0.85, 1.15)
    side = int(person.integers(2))
    centre = fields[side].place(person)
    for i in range(5 if focal else int(person.integers(6, 10))):
        if focal:
            cx, cy = centre[0] + person.normal(0, 0.08), centre[1] + person.normal(0, 0.10)
            wide = person.uniform(0.13, 0.22)
        else:
            cx, cy = fields[(side + i) % 2].place(person)
            wide = person.uniform(0.08, 0.14)
        high = wide * person.uniform(0.8, 1.3)
        blob = np.exp(-(((x - cx) / wide) ** 2) - ((y - cy) / high) ** 2)
        cloud = cloud + blob * (1 - cloud)  # where two overlap, no brighter than one
    return grade * cloud * (_DENSITY + _MOTTLE * _clouds(view, cells=30))


def _marker(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A bright letter-like bar near an upper corner, in one image of two."""
    if rng.uniform() < 0.5:
        return np.zeros_like(x)
    cx, cy = (-1, 1)[int(rng.integers(2))] * rng.uniform(0.8, 0.9), rng.uniform(-0.9, -0.75)
    upright = (np.abs(x - cx) < 0.02) & (np.abs(y - cy) < 0.07)
    foot = (np.abs(x - cx - 0.03) < 0.05) & (np.abs(y - cy - 0.06) < 0.02)
    return 0.8 * (upright | foot)


def _exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven exposure, contrast, gamma and grain; then 8 bits."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    image = image + rng.normal(0, 0.06) * axis[None, :] + rng.normal(0, 0.06) * axis[:, None]
    image = image + 0.05 * _clouds(rng, cells=6)
    image = 0.1 + rng.uniform(0.75, 1.15) * image + rng.normal(0, 0.07)
    image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.3)
    image = image + rng.normal(0, rng.uniform(0.005, 0.02), image.shape)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _clouds(rng: np.random.Generator, *, cells: int) -> np.ndarray:
    """Smooth noise, deviation about 1 at the knots of a grid of cells: (SIDE, SIDE)."""
    knots = np.linspace(0, cells - 1, SIDE)
    return _between(_between(rng.normal(0, 1, (cells, cells)).astype(np.float32), knots).T, knots).T


def _between(rows: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis: (n, m) to (len(knots), m)."""
    low = np.minimum(knots.astype(int), len(rows) - 2)
    part = (knots - low)[:, None].astype(np.float32)
    return rows[low] * (1 - part) + rows[low + 1] * part


def _ellipse(x: np.ndarray, y: np.ndarray, *, width: float, height: float) -> np.ndarray:
    """Distance from the middle of an ellipse, 1 at its rim."""
    return np.sqrt((x / width) ** 2 + (y / height) ** 2)


def _soft(distance: np.ndarray, sharpness: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(sharpness * distance, -30, 30)))
