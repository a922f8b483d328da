"""Intervals of recall hold it as often as their method can, with several images per patient too."""

import numpy as np
import pytest

from benchmarks.coverage import (
    CORRELATIONS,
    POSITIVES,
    RECALLS,
    exact_coverage,
    images_alone,
    ours,
    simulated_coverage,
    textbook,
)


def simulated(method, **setting):
    """(recalls,)"""
    return np.array(
        [
            simulated_coverage(method, recall=float(recall), seed=seed, **setting)
            for seed, recall in enumerate(RECALLS)
        ]
    )


def far(found, exact, repetitions):
    """How many Monte-Carlo standard errors each is away, and their mean is."""
    error = np.sqrt(exact * (1 - exact) / repetitions)
    gap = found - exact
    return np.abs(gap / error).max(), abs(gap.mean()) / (np.sqrt((error**2).sum()) / len(error))


@pytest.mark.parametrize("positives", POSITIVES)
def test_one_image_per_patient_is_covered_as_the_binomial_says(positives):
    exact = exact_coverage(ours, recalls=RECALLS, correlation=0.0, patients=positives, each=1)
    assert exact.mean() >= 0.94
    setting = {"correlation": 0.0, "images": positives, "most": 1, "repetitions": 2000}
    assert max(far(simulated(ours, **setting), exact, 2000)) <= 2.5


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_two_images_per_patient_are_covered_as_all_ways_added_up_say(correlation):
    exact = exact_coverage(ours, recalls=RECALLS, correlation=correlation, patients=25, each=2)
    assert exact.mean() >= 0.94
    setting = {"correlation": correlation, "images": 50, "least": 2, "most": 2}
    assert max(far(simulated(ours, repetitions=2000, **setting), exact, 2000)) <= 2.5


def test_several_images_per_patient_are_covered_where_textbooks_fall_short():
    setting = {"correlation": 0.7, "images": 100, "most": 12, "repetitions": 500}
    assert simulated(ours, **setting).mean() >= 0.94
    assert simulated(textbook, **setting).mean() < 0.94
    assert simulated(images_alone, **setting).mean() < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("positives", POSITIVES)
@pytest.mark.parametrize("most", [6, 12])
def test_one_to_many_images_per_patient_are_covered(positives, correlation, most):
    setting = {"correlation": correlation, "images": positives, "most": most, "repetitions": 4000}
    assert simulated(ours, **setting).mean() >= 0.94


@pytest.mark.slow
@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize(("patients", "each"), [(50, 2), (195, 2), (33, 3)])
def test_more_patients_are_covered_as_all_ways_added_up_say(patients, each, correlation):
    exact = exact_coverage(
        ours, recalls=RECALLS, correlation=correlation, patients=patients, each=each
    )
    assert exact.mean() >= 0.94
    setting = {"correlation": correlation, "images": patients * each, "least": each, "most": each}
    assert max(far(simulated(ours, repetitions=4000, **setting), exact, 4000)) <= 2.5
