"""Models that rank alike say the same once a line has brought one's scale to the other's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import norm, t

from xfer.evaluate.calibration import fit_calibration
from xfer.evaluate.equating import equate
from xfer.evaluate.thresholds import choose_threshold
from xfer.recipe import Objective, TargetRecall


def line(logits, own, *, sizes, shared):
    """What `equate` finds, each image of another patient."""
    return equate(logits, own, sizes=sizes, shared=np.asarray(shared), patients=len(shared))


def equated(*given, **named):
    """The answers of `line` where there is one."""
    found = line(*given, **named)
    assert found is not None
    return found.logits


SCALE, SHIFT = st.floats(0.05, 20), st.floats(-50, 50)


def two(odds):
    """Logits (images, 2) of these log-odds, with something that must not matter added to both."""
    odds = np.asarray(odds, float)
    return np.column_stack((np.full(len(odds), 3.0), odds + 3.0))


@given(st.lists(st.tuples(SCALE, SHIFT), min_size=2, max_size=5), SCALE, SHIFT)
def test_models_on_any_scales_answer_as_the_other_would(lines, scale, shift):
    latent = np.array([-2.0, -1.5, 0.0, 0.5, 1.0, 4.0])
    parts = [two(slope * latent + intercept) for slope, intercept in lines]
    moved = equated(
        np.concatenate(parts),
        two(scale * latent[[1, 2, 5]] + shift),
        sizes=[6] * len(parts),
        shared=np.array([1, 2, 6 + 5]),  # the last of these was asked of the second model
    )
    expected = np.tile(scale * latent + shift, len(parts))
    assert moved[:, 1] - moved[:, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(st.integers(0, 1000), SCALE, SHIFT)
def test_what_a_calibration_says_does_not_depend_on_scales(seed, scale, shift):
    generator = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    odds = generator.normal(2.0 * labels - 1, 1)
    own = odds[:20] + generator.normal(0, 0.3, 20)

    def said(change_folds, change_own):
        mine = two(change_own(own))
        moved = equated(
            two(np.concatenate([change_folds(odds[:30]), odds[30:]])),
            mine,
            sizes=(30, 30),
            shared=np.arange(20),
        )
        return fit_calibration(moved, labels).apply(mine)[:, 1]

    def same(z):
        return z

    def changed(z):
        return scale * z + shift

    assert said(changed, changed) == pytest.approx(said(same, same), abs=1e-6)


def test_each_model_keeps_its_order_of_images():
    generator = np.random.default_rng(0)
    odds = generator.normal(size=40)
    moved = equated(two(odds), two(generator.normal(size=9)), sizes=(25, 15), shared=np.arange(9))
    for part in (slice(0, 25), slice(25, 40)):
        assert np.array_equal(np.argsort(moved[part, 1]), np.argsort(odds[part]))


@pytest.mark.parametrize("stretch", [0.01, 1.0, 40.0])
def test_of_several_classes_logits_are_stretched_and_nothing_else(stretch):
    latent = np.random.default_rng(0).normal(size=(30, 4))
    alike = latent - latent.mean(axis=1, keepdims=True)
    moved = equated(
        np.concatenate([3 * latent + 5, 0.2 * latent - 9]),  # a constant on all logits says nothing
        stretch * latent[:12] - 1,
        sizes=(30, 30),
        shared=np.arange(12),
    )
    assert moved == pytest.approx(np.tile(stretch * alike, (2, 1)))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_that_answers_the_same_to_all_images_has_no_scale(classes):
    generator = np.random.default_rng(0)
    good, flat = generator.normal(size=(10, classes)), np.full((10, classes), 0.1) + [0.2] * classes
    flat = flat + np.arange(classes) * (classes == 2)  # of two classes any constant; of more none
    shared = np.arange(10)
    assert line(np.concatenate([good, flat]), good, sizes=(10, 10), shared=shared) is None
    assert line(np.concatenate([good, good]), flat, sizes=(10, 10), shared=shared) is None


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_two_images_make_a_line_of_which_nothing_is_known(shared):
    good = np.random.default_rng(0).normal(size=(10, 2))
    assert line(good, good[:shared], sizes=(10,), shared=np.arange(shared)) is None


def test_a_threshold_on_equated_answers_has_a_recall_nearer_to_the_one_wanted():
    generator = np.random.default_rng(0)
    missed = {"equated": [], "as they are": [], "own alone": []}
    for _ in range(400):
        labels = np.tile([0, 1], 200)  # 5 models answer 80 each, the other one 16 of each 80
        hard = generator.normal(2 * labels - 1, 0.8)
        latent = 3 * generator.normal(hard, 0.5, (2, 400))
        slopes, shifts = np.exp(generator.normal(0, 0.3, 6)), generator.normal(0, 1, 6)
        out = np.repeat(slopes[:5], 80) * latent[0] + np.repeat(shifts[:5], 80)
        shared = np.flatnonzero(np.arange(400) % 80 < 16)
        own = slopes[5] * latent[1, shared] + shifts[5]
        moved = equated(two(out), two(own), sizes=[80] * 5, shared=shared)[:, 1]
        answers = (moved, labels), (out, labels), (own, labels[shared])
        for name, (odds, of) in zip(missed, answers, strict=True):
            threshold = np.quantile(odds[of == 1], 0.05)
            deviations = ((threshold - shifts[5]) / slopes[5] - 3) / (3 * np.hypot(0.8, 0.5))
            missed[name].append(norm.cdf(deviations))
    line, raw, few = (float(np.std(found)) for found in missed.values())
    assert line < 0.75 * few < 0.75 * raw
    assert np.mean(missed["equated"]) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_the_line_errs_by_what_is_said_of_it(correlation):
    generator = np.random.default_rng(0)
    at, said = [], []
    for _ in range(1000):
        latent = generator.normal(size=(2, 60))
        latent[1] = correlation * latent[0] + np.sqrt(1 - correlation**2) * latent[1]
        out = np.concatenate([latent[0], [-2.0, 0.0, 2.0]])  # deviations from the mean
        out = np.concatenate([out, generator.normal(size=2000)])  # the model's own are known well
        found = line(two(out), two(7 * latent[1] - 5), sizes=[len(out)], shared=np.arange(60))
        places = slice(60, 63)
        at.append(found.logits[places, 1])
        said.append(found.logits[places, 1] - found.low[places, 1])
    errors = np.std(at, axis=0)
    assert np.mean(said, axis=0) / t.ppf(0.95, 58) == pytest.approx(errors, rel=0.1)


def test_images_of_few_patients_make_a_line_that_errs_more():
    generator = np.random.default_rng(0)
    out, own = two(generator.normal(size=90)), two(generator.normal(size=40))
    many, few = (
        equate(out, own, sizes=(45, 45), shared=np.arange(40), patients=patients)
        for patients in (40, 10)
    )
    assert (many.logits == few.logits).all()
    margins = [(found.logits - found.low)[:, 1] for found in (many, few)]
    assert margins[1] / t.ppf(0.95, 8) == pytest.approx(2 * margins[0] / t.ppf(0.95, 38))
    assert (margins[0] > 0).all()


def test_of_several_classes_no_lower_end_is_told():
    generator = np.random.default_rng(0)
    out, own = generator.normal(size=(90, 3)), generator.normal(size=(40, 3))
    assert line(out, own, sizes=(45, 45), shared=np.arange(40)).low is None


def test_a_promised_recall_is_kept_only_where_the_line_s_error_counts():
    generator = np.random.default_rng(0)
    kept = {"promised": [], "without the error": []}
    for _ in range(120):
        labels = np.tile([0, 1], 200)  # 5 models answer 80 each, the other one 4 of each 80
        hard = generator.normal(2 * labels - 1, 0.8)
        latent = 3 * generator.normal(hard, 0.5, (2, 400))
        slopes, shifts = np.exp(generator.normal(0, 0.3, 6)), generator.normal(0, 1, 6)
        shared = np.flatnonzero(np.arange(400) % 80 < 4)
        own = slopes[5] * latent[1, shared] + shifts[5]
        out = np.repeat(slopes[:5], 80) * latent[0] + np.repeat(shifts[:5], 80)
        found = line(two(out), two(own), sizes=[80] * 5, shared=shared)
        calibration = fit_calibration(found.logits, labels)
        for name, low in zip(kept, (calibration.apply(found.low)[:, 1], None), strict=True):
            chosen = choose_threshold(
                TargetRecall(0.9),
                Objective("recall_weighted", recall_weight=0.75),
                calibration.apply(found.logits)[:, 1],
                labels,
                low=low,
            )
            at = (logit(chosen.value) - calibration.intercept) / calibration.slope
            deviations = ((at - shifts[5]) / slopes[5] - 3) / (3 * np.hypot(0.8, 0.5))
            kept[name].append(norm.sf(deviations) >= 0.9)
    assert np.mean(kept["promised"]) > 0.94
    assert np.mean(kept["without the error"]) < 0.9
