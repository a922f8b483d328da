"""Calibrated probabilities are the shares that happen, and the order of images is the model's."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression

from xfer.errors import DataError
from xfer.evaluate.calibration import FLATTEST, Calibration, fit_calibration, moved

PLAIN = Calibration(
    slope=1.0, intercept=0.0, classes=2, images=100, prevalence=0.5, ranks=True
)  # fmt: skip


def two(odds):
    """Logits (images, 2) of these log-odds, with something that must not matter added to both."""
    odds = np.asarray(odds, float)
    return np.column_stack((np.full(len(odds), 3.0), odds + 3.0))


@st.composite
def answers(draw, classes=2):
    images = draw(st.integers(classes, 30))
    element = st.one_of(st.integers(-3, 3).map(float), st.floats(-1000, 1000))
    logits = draw(hnp.arrays(np.float64, (images, classes), elements=element))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    labels[:classes] = np.arange(classes)
    return logits, labels


@given(answers())
def test_the_order_of_images_never_changes(case):
    logits, labels = case
    calibration = fit_calibration(logits, labels)
    odds = logits[:, 1] - logits[:, 0]
    rising = calibration.apply(logits)[np.argsort(odds), 1]
    assert (np.diff(rising) >= 0).all()
    apart = np.diff(np.sort(odds)) > 1e-3 * np.ptp(odds)
    assert (np.diff(rising)[apart] > 0).all()


@given(answers(classes=4))
def test_the_most_probable_of_several_classes_stays_it(case):
    logits, labels = case
    probabilities = fit_calibration(logits, labels).apply(logits)
    chosen = probabilities.argmax(axis=1)
    assert (logits[np.arange(len(logits)), chosen] >= logits.max(axis=1) - 1e-9).all()


@given(st.one_of(answers(), answers(classes=3)))
def test_probabilities_are_finite_and_add_up(case):
    logits, labels = case
    calibration = fit_calibration(logits, labels)
    probabilities = calibration.apply(logits)
    assert np.isfinite(probabilities).all()
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert calibration == fit_calibration(logits, labels)


@given(answers(), st.floats(0.1, 100), st.floats(-50, 50))
def test_the_scale_of_logits_does_not_matter(case, scale, shift):
    logits, labels = case
    logits = np.round(logits, 3)
    scaled = logits * scale + [0.0, shift]
    calibrated = fit_calibration(scaled, labels).apply(scaled)
    if np.ptp(logits[:, 1] - logits[:, 0]) > 0:
        expected = fit_calibration(logits, labels).apply(logits)
        assert calibrated == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1000.0])
@pytest.mark.parametrize("positives", [1, 7, 150])
def test_the_line_is_that_of_logistic_regression_on_smoothed_labels(spread, positives):
    generator = np.random.default_rng(positives)
    labels = np.arange(300) < positives
    odds = spread * (generator.normal(size=300) + labels)
    calibration = fit_calibration(two(odds), labels.astype(int))
    # A label of 0.9 is the same as one image of 1 with weight 0.9 and one of 0 with weight 0.1.
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (300 - positives + 2))
    oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000)
    oracle.fit(
        np.tile(odds / spread, 2)[:, None],
        np.repeat([1, 0], 300),
        sample_weight=np.concatenate((targets, 1 - targets)),
    )
    assert calibration.slope * spread == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    assert calibration.intercept == pytest.approx(oracle.intercept_[0], rel=1e-4)


def test_a_planted_line_is_found_again():
    generator = np.random.default_rng(0)
    odds = generator.normal(0, 300, 200_000)
    labels = generator.random(len(odds)) < expit(0.01 * odds - 2)
    calibration = fit_calibration(two(odds), labels.astype(int))
    assert calibration.slope == pytest.approx(0.01, rel=0.03)
    assert calibration.intercept == pytest.approx(-2, abs=0.05)
    assert calibration.prevalence == labels.mean()


def test_a_planted_temperature_is_found_again():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (50_000, 4))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > generator.random((50_000, 1))).argmax(axis=1)
    calibration = fit_calibration(25 * logits, labels)
    assert 1 / calibration.slope == pytest.approx(25, rel=0.03)


def test_what_is_calibrated_stays_as_it_is():
    generator = np.random.default_rng(1)
    odds = generator.normal(-1, 2, 100_000)
    labels = generator.random(len(odds)) < expit(odds)
    calibration = fit_calibration(two(odds), labels.astype(int))
    assert calibration.apply(two(odds))[:, 1] == pytest.approx(expit(odds), abs=0.01)


def test_a_slope_of_1_and_no_intercept_is_softmax():
    logits = np.random.default_rng(0).normal(0, 5, (50, 2))
    assert PLAIN.apply(logits) == pytest.approx(softmax(logits, axis=1), rel=1e-12)


def test_parted_classes_have_finite_probabilities_inside_0_and_1():
    odds, labels = np.repeat([-1000.0, 1000.0], [30, 20]), np.repeat([0, 1], [30, 20])
    calibration = fit_calibration(two(odds), labels)
    said = calibration.apply(two(odds))[:, 1]
    assert said[0] == pytest.approx(1 / 32)  # Platt's targets, reached
    assert said[-1] == pytest.approx(21 / 22)
    assert calibration.ranks


def test_one_image_of_each_class_is_enough():
    calibration = fit_calibration(two([-1000.0, 1000.0]), [0, 1])
    assert calibration.apply(two([-1000.0, 1000.0]))[:, 1] == pytest.approx([1 / 3, 2 / 3])


def test_equal_logits_say_the_prevalence_and_are_told():
    calibration = fit_calibration(two([40.0] * 1000), np.arange(1000) < 100)
    assert calibration.apply(two([40.0]))[0, 1] == pytest.approx(0.1, abs=0.002)
    assert (calibration.slope, calibration.ranks) == (1.0, False)
    assert "rank these images no better than chance" in calibration.said


def test_a_model_that_ranks_the_wrong_way_round_is_flattened_and_not_turned():
    odds, labels = np.linspace(5, -5, 1000), np.arange(1000) >= 800
    calibration = fit_calibration(two(odds), labels)
    assert calibration.slope * odds.std() == pytest.approx(FLATTEST)
    said = calibration.apply(two(odds))[:, 1]
    assert said == pytest.approx(np.full(1000, 0.2), abs=0.01)
    assert (np.diff(said) < 0).all()
    assert not calibration.ranks


def test_several_classes_that_are_ranked_the_wrong_way_are_flattened_too():
    calibration = fit_calibration(-1000 * np.eye(5), np.arange(5))
    assert not calibration.ranks
    assert calibration.apply(-1000 * np.eye(5)) == pytest.approx(np.full((5, 5), 0.2), abs=0.01)


def test_several_classes_that_are_parted_have_probabilities_inside_0_and_1():
    calibration = fit_calibration(1000 * np.eye(5), np.arange(5))
    said = np.diag(calibration.apply(1000 * np.eye(5)))
    assert said == pytest.approx(np.full(5, 1 - 2 / 7 * 4 / 5))  # 2 of 7 labels by chance
    assert calibration.ranks


# --------------------------------------------------------------------------------------------------
# Another prevalence


def test_a_shifted_calibration_is_right_where_the_positive_class_is_rarer():
    generator = np.random.default_rng(2)

    def drawn(images, prevalence):
        labels = (generator.random(images) < prevalence).astype(int)
        return two(generator.normal(2.0 * labels, 1.0)), labels

    calibration = fit_calibration(*drawn(100_000, 0.6))
    logits, labels = drawn(200_000, 0.05)
    shifted = calibration.shifted(0.05)
    assert shifted.apply(logits)[:, 1].mean() == pytest.approx(labels.mean(), abs=0.003)
    rare = fit_calibration(logits, labels)
    assert shifted.intercept == pytest.approx(rare.intercept, abs=0.1)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_shift_is_bayes_rule_and_can_be_taken_back(before, after):
    there = Calibration(
        slope=2.0, intercept=-1.0, classes=2, images=9, prevalence=before, ranks=True
    )
    here = there.shifted(after)
    odds = np.array([[0.0, 0.3]])
    ratio = (after / (1 - after)) / (before / (1 - before))
    expected = logit(there.apply(odds)[0, 1]) + np.log(ratio)
    assert logit(here.apply(odds)[0, 1]) == pytest.approx(expected, abs=1e-9)
    assert moved(there.apply(odds)[0, 1], there, here) == pytest.approx(here.apply(odds)[0, 1])
    assert here.shifted(before).intercept == pytest.approx(-1.0, abs=1e-9)


def test_a_threshold_of_0_or_1_stays_where_it_is():
    assert [moved(t, PLAIN, PLAIN.shifted(0.01)) for t in (0.0, 1.0)] == [0.0, 1.0]


# --------------------------------------------------------------------------------------------------
# On disk, and what is refused


@given(st.one_of(answers(), answers(classes=3)))
def test_a_calibration_comes_back_from_json(case):
    calibration = fit_calibration(*case)
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slope": 0.0}, "slope must be a number above 0, got 0.0"),
        ({"slope": float("nan")}, "slope must be a number above 0"),
        ({"intercept": float("inf")}, "intercept must be a finite number"),
        ({"prevalence": 1.0}, "prevalence must be a number inside (0, 1), got 1.0"),
        ({"prevalence": None}, "prevalence must be a number inside (0, 1), got None"),
        ({"slope": "1"}, "slope of a calibration must be there, as a number"),
        ({"classes": 3}, "prevalence is for two classes, got 3"),
        ({"classes": 3, "prevalence": None, "intercept": 1.0}, "0 with more than two classes"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(changes, said):
    with pytest.raises(DataError) as caught:
        Calibration.from_json(PLAIN.to_json() | changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        (np.zeros((3, 2)), [0, 1], "must be of the same images"),
        (np.zeros((0, 2)), [], "must be of the same images"),
        (np.zeros(3), [0, 1, 1], "must have shape (images, classes)"),
        (np.full((2, 2), np.nan), [0, 1], "must be finite numbers, got 4 that are not"),
        (np.zeros((2, 2)), [0, 2], "whole numbers in [0, 1]"),
        (np.zeros((2, 2)), [1, 1], "must hold both classes, got 2 images of one"),
    ],
)
def test_answers_that_cannot_be_calibrated_are_refused(logits, labels, said):
    with pytest.raises(DataError) as caught:
        fit_calibration(logits, labels)
    assert said in str(caught.value)


def test_logits_of_another_number_of_classes_are_refused():
    with pytest.raises(DataError, match="must be of 2 classes, got 3"):
        PLAIN.apply(np.zeros((1, 3)))
    several = Calibration(
        slope=1.0, intercept=0.0, classes=3, images=9, prevalence=None, ranks=True
    )
    with pytest.raises(DataError, match="a prevalence is for two classes"):
        several.shifted(0.1)
