"""How do a model's logits become probabilities that hold?

Two classes: log-odds = slope z + intercept, with z the second logit less the first; the order of
images is the model's own. Several: all logits are stretched alike, and the most probable class is
the model's own.

Sources: D. R. Cox, Biometrika 45, 1958; J. Platt, Probabilistic outputs for support vector
machines, 1999; C. Guo et al., On calibration of modern neural networks, 2017 (their temperature is
1 / slope).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from xfer.errors import DataError
from xfer.evaluate.answers import FloatArray, IntArray
from xfer.evaluate.logistic import fit_intercept, fit_line, log_odds, root

FLATTEST = 0.01
"""The least slope, in log-odds per standard deviation of what it multiplies. A model that ranks the
wrong way round is not turned: that would hide its fault, and on few images it may be chance."""
_EQUAL = 1e-9
"""Logits that differ by less than this share of their size are taken to be equal."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A change of logits, and the images it was fitted on."""

    slope: float
    """Above 0; what a logit is multiplied by. Below 1 the model was too sure, above it not enough.
    """
    intercept: float
    """Added to the log-odds of the second of two classes; 0 with several classes."""
    classes: int
    """At least 2."""
    images: int
    """It was fitted on so many."""
    prevalence: float | None
    """Share of the second class among them, in (0, 1): the share that probabilities hold for. None
    with several classes."""
    ranks: bool
    """False where the logits ranked these images the wrong way round, or not at all; probabilities
    are then next to constant, and the order of images is still the model's."""

    def __post_init__(self) -> None:
        """Refuses what cannot be used.

        Raises:
            DataError: a number outside its range.
        """
        if not (isfinite(self.slope) and self.slope > 0):
            raise DataError(f"slope must be a number above 0, got {self.slope!r}.")
        if not isfinite(self.intercept) or (self.classes > 2 and self.intercept != 0):
            raise DataError(
                f"intercept must be a finite number, 0 with more than two classes, "
                f"got {self.intercept!r} with {self.classes}."
            )
        if self.classes == 2:
            check_prevalence(self.prevalence)
        elif self.prevalence is not None:
            raise DataError(f"prevalence is for two classes, got {self.classes} classes.")

    def apply(self, logits: npt.ArrayLike) -> FloatArray:
        """Probabilities (images, classes), float64, of logits (images, classes).

        Raises:
            DataError: another number of classes, or a logit that is no finite number.
        """
        values = _check_logits(logits)
        if values.shape[1] != self.classes:
            raise DataError(f"logits must be of {self.classes} classes, got {values.shape[1]}.")
        if self.classes > 2:
            return softmax(self.slope * values, axis=1)
        odds = self.slope * (values[:, 1] - values[:, 0]) + self.intercept
        return np.column_stack((expit(-odds), expit(odds)))

    def shifted(self, prevalence: float) -> Calibration:
        """The same where the second class is as frequent as this; recall stays what it was.

        Its log-odds move by logit(prevalence) - logit(self.prevalence). Source: M. Saerens et al.,
        Neural Computation 14, 2002. It holds where the images of each class look as they did.

        Raises:
            DataError: several classes, or a prevalence outside (0, 1).
        """
        if self.prevalence is None:
            raise DataError(f"a prevalence is for two classes, these are {self.classes}.")
        moved = log_odds(check_prevalence(prevalence)) - log_odds(self.prevalence)
        return replace(self, intercept=self.intercept + moved, prevalence=prevalence)

    @property
    def said(self) -> str:
        """What was done, in a sentence or two."""
        if self.classes == 2:
            done = f"slope {self.slope:.3g} and intercept {self.intercept:.3g} of the log-odds"
        else:
            done = f"temperature {1 / self.slope:.3g}"
        text = f"Probabilities are calibrated: {done}, fitted on {self.images:,} images"
        if self.prevalence is not None:
            text += f"; they hold where {self.prevalence:.3g} of images are of the second class"
        if not self.ranks:
            text += (
                ". The model's answers rank these images no better than chance, so that all "
                "probabilities are nearly the same"
            )
        return text + "."

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return asdict(self)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Calibration:
        """What `to_json` gave.

        Raises:
            DataError: something is missing, of another type, or outside its range.
        """
        types = {
            "slope": float,
            "intercept": float,
            "classes": int,
            "images": int,
            "prevalence": float | None,
            "ranks": bool,
        }
        wrong = [
            name
            for name, kind in types.items()
            if name not in document or not isinstance(document[name], kind)
        ]
        if wrong:
            raise DataError(f"{', '.join(wrong)} of a calibration must be there, as a number.")
        return Calibration(**{name: document[name] for name in types})


def moved(probability: float, before: Calibration | None, after: Calibration | None) -> float:
    """What `after` says of the image of which `before` says this; both of two classes, one slope.

    A threshold that is moved so decides as it did, but for rounding.
    """
    if before is None or after is None or probability in (0.0, 1.0):
        return probability
    return float(expit(log_odds(probability) + after.intercept - before.intercept))


def fit_calibration(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Calibration:
    """The calibration under which these labels are likeliest.

    Labels are smoothed, so that it is finite where classes are parted without a fault: with two
    classes as Platt does, 1 / (n + 2) off for n images of the class; with several, each label
    counts as 2 / (images + 2) of one drawn by chance. The slope is at least FLATTEST over the
    logits' standard deviation. Where all logits are equal there is nothing to learn of it: it is 1.

    Args:
        logits: (images, classes), of images that the model has not seen; at least two classes.
        labels: (images,), indices of classes.

    Raises:
        DataError: other shapes, no images, a logit that is no finite number, a label without a
            class, or two classes of which there is one only.
    """
    values = _check_logits(logits)
    truth = np.asarray(labels)
    images, classes = values.shape
    if truth.shape != (images,) or not images:
        raise DataError(
            f"logits {values.shape} and labels {truth.shape} must be of the same images."
        )
    if not np.isin(truth, np.arange(classes)).all():
        raise DataError(f"labels must be whole numbers in [0, {classes - 1}].")
    truth = truth.astype(np.int64)
    if classes > 2:
        return _fit_temperature(values, truth)
    positives = int(truth.sum())
    if positives in (0, images):
        raise DataError(f"labels must hold both classes, got {images} images of one.")
    odds = values[:, 1] - values[:, 0]
    targets = np.where(truth, (positives + 1) / (positives + 2), 1 / (images - positives + 2))
    slope, intercept, ranks = 1.0, None, False
    if (spread := _spread(odds)) > 0:
        slope = FLATTEST / spread
        fitted = fit_line(odds, targets)
        if ranks := fitted.slope > slope:
            slope, intercept = fitted.slope, fitted.intercept
    return Calibration(
        slope=slope,
        intercept=fit_intercept(slope * odds, targets) if intercept is None else intercept,
        classes=2,
        images=images,
        prevalence=positives / images,
        ranks=ranks,
    )


def check_prevalence(prevalence: float | None) -> float:
    """The share itself, or a DataError where it is not inside (0, 1)."""
    if prevalence is None or not 0.0 < prevalence < 1.0:
        raise DataError(f"prevalence must be a number inside (0, 1), got {prevalence!r}.")
    return float(prevalence)


def _fit_temperature(logits: FloatArray, labels: IntArray) -> Calibration:
    images, classes = logits.shape
    centered = logits - logits.mean(axis=1, keepdims=True)
    spread = float(centered.std()) if _spread(centered) > 0 else 0.0
    slope, ranks = 1.0, False
    if spread > 0:
        scaled = centered / spread
        of_labels = scaled[np.arange(images), labels]
        weight = 2 / (images + 2)  # of the smoothing; each row's mean is 0, and so is chance's
        wanted = (1 - weight) * float(of_labels.mean())

        def excess(stretch: float) -> float:
            expected = (softmax(stretch * scaled, axis=1) * scaled).sum(axis=1)
            return float(expected.mean()) - wanted

        most = 1.0
        while excess(most) < 0:  # ends: the labels' mean is below the largest logits'
            most *= 2
        ranks = excess(FLATTEST) < 0
        slope = (root(excess, FLATTEST, most) if ranks else FLATTEST) / spread
    return Calibration(
        slope=slope, intercept=0.0, classes=classes, images=images, prevalence=None,
        ranks=ranks,
    )  # fmt: skip


def _spread(values: FloatArray) -> float:
    """Standard deviation; 0 where values differ by rounding only."""
    spread = float(values.std())
    return spread if spread > _EQUAL * float(np.abs(values).max(initial=0.0)) else 0.0


def _check_logits(logits: npt.ArrayLike) -> FloatArray:
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise DataError(
            f"logits must have shape (images, classes) with at least 2 classes, got {values.shape}."
        )
    if not np.isfinite(values).all():
        raise DataError(
            f"logits must be finite numbers, got {int((~np.isfinite(values)).sum())} that are not."
        )
    return values
