"""How often does the interval of recall hold the true recall, with several images per patient?

    python -m benchmarks.coverage [REPETITIONS]

Prints, per number of positive images and correlation within patients, the coverage of 95 %
intervals by simulation: the mean over recalls of .90 to .99, and the least of them. Three methods:
images counted as if they were of different patients; the design effect as it is in textbooks; ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import combinations_with_replacement
from math import lgamma

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import betabinom, binom

from xfer.evaluate.confusion import ratio
from xfer.evaluate.intervals import intraclass_correlation, score_interval, wilson_by_patient

RECALLS = np.arange(90, 100) / 100
POSITIVES = (50, 100, 390)
CORRELATIONS = (0.0, 0.3, 0.7, 1.0)
CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Method = Callable[[Ints, Ints], tuple[Floats, Floats]]


def ours(found: Ints, images: Ints) -> tuple[Floats, Floats]:
    """Low and high of `wilson_by_patient`."""
    low, high, _ = wilson_by_patient(found, images)
    return low, high


def images_alone(found: Ints, images: Ints) -> tuple[Floats, Floats]:
    """Wilson's interval that knows no patients."""
    total = images.sum(axis=-1)
    return score_interval(ratio(found.sum(axis=-1), total), total.astype(float), CONFIDENCE)


def textbook(found: Ints, images: Ints) -> tuple[Floats, Floats]:
    """Wilson's interval on n / design effect, the correlation of these patients alone."""
    total = images.sum(axis=-1)
    shared = (images * images).sum(axis=-1) / total
    number = total / (1 + (shared - 1) * intraclass_correlation(found, images))
    return score_interval(ratio(found.sum(axis=-1), total), number, CONFIDENCE)


METHODS: dict[str, Method] = {"alone": images_alone, "textbook": textbook, "ours": ours}


def draw_images(
    generator: np.random.Generator, *, repetitions: int, images: int, least: int, most: int
) -> Ints:
    """(repetitions, patients): `least` to `most` images each, equally likely, together `images`.

    A patient with 0 is not there; the last of them has what is left over.
    """
    drawn = generator.integers(least, most + 1, (repetitions, images))
    over = np.maximum(drawn.cumsum(axis=1) - images, 0)
    sizes = np.maximum(drawn - over, 0)
    return sizes[:, : np.count_nonzero(sizes, axis=1).max()]


def draw_found(
    generator: np.random.Generator, images: Ints, *, recall: float, correlation: float
) -> Ints:
    """How many of each patient's images are found, in the shape of `images`: beta-binomial."""
    if correlation == 0.0:
        return generator.binomial(images, recall)
    if correlation == 1.0:
        return images * (generator.random(images.shape) < recall)
    a, b = _beta(recall, correlation)
    return generator.binomial(images, generator.beta(a, b, images.shape))


def simulated_coverage(
    method: Method,
    *,
    recall: float,
    correlation: float,
    repetitions: int,
    seed: int,
    images: int,
    least: int = 1,
    most: int,
) -> float:
    """Share of repetitions whose interval holds the recall; arguments as `draw_images`."""
    generator = np.random.default_rng(seed)
    sizes = draw_images(generator, repetitions=repetitions, images=images, least=least, most=most)
    found = draw_found(generator, sizes, recall=recall, correlation=correlation)
    low, high = method(found, sizes)
    return float(((low <= recall) & (recall <= high)).mean())


def exact_coverage(
    method: Method, *, recalls: Floats, correlation: float, patients: int, each: int
) -> Floats:
    """The same without chance, in the shape of `recalls`, where every patient has `each` images.

    The sum of the probabilities of all ways in which so many patients can have 0, 1, ..., `each`
    images found and whose interval holds the recall; there are (patients + each choose each).
    """
    ends = np.array(list(combinations_with_replacement(range(patients + 1), each)))
    # (ways, each + 1): how many patients have so many images found
    counts = np.diff(np.pad(ends, ((0, 0), (1, 1)), constant_values=((0, 0), (0, patients))))
    low, high = np.empty(len(counts)), np.empty(len(counts))
    for begin in range(0, len(counts), 4096):  # 4096 ways x 390 patients: 13 MB an array
        part = slice(begin, begin + 4096)
        found = np.array([np.repeat(np.arange(each + 1), row) for row in counts[part]])
        low[part], high[part] = method(found, np.full(found.shape, each))
    log_factorial = np.array([lgamma(n + 1) for n in range(patients + 1)])
    log_ways = log_factorial[patients] - log_factorial[counts].sum(axis=1)
    coverage = []
    for recall in recalls:
        log_pmf = xlogy(counts, found_pmf(recall, correlation, each)).sum(axis=1)
        covered = (low <= recall) & (recall <= high)
        coverage.append(np.exp(log_ways + log_pmf)[covered].sum())
    return np.array(coverage)


def found_pmf(recall: float, correlation: float, each: int) -> Floats:
    """(each + 1,): the probability that 0, 1, ..., `each` images of a patient are found."""
    found = np.arange(each + 1)
    if correlation == 0.0 or each == 1:
        return binom.pmf(found, each, recall)
    if correlation == 1.0:
        return np.where(found == each, recall, np.where(found == 0, 1 - recall, 0.0))
    return betabinom.pmf(found, each, *_beta(recall, correlation))


def _beta(recall: float, correlation: float) -> tuple[float, float]:
    both = 1 / correlation - 1
    return recall * both, (1 - recall) * both


def main(repetitions: int) -> None:
    """Prints a line per setting."""
    print(f"{repetitions:,} repetitions each; mean and least over recalls of .90 to .99")
    print("images each  positives  correlation  " + "".join(f"{name:<16}" for name in METHODS))
    for most in (1, 6, 12):
        for images in POSITIVES:
            for correlation in CORRELATIONS if most > 1 else (0.0,):
                line = ""
                for method in METHODS.values():
                    by_recall = [
                        simulated_coverage(
                            method, recall=float(recall), correlation=correlation,
                            repetitions=repetitions, seed=seed, images=images, most=most,
                        )
                        for seed, recall in enumerate(RECALLS)
                    ]  # fmt: skip
                    line += f"{np.mean(by_recall):.3f} ({min(by_recall):.3f})   "
                each = "1" if most == 1 else f"1 to {most}"
                print(f"{each:<11}  {images:<9}  {correlation:<11}  {line}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
