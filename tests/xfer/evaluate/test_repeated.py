"""Is what is said of configurations trained several times true as often as it says?"""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy.stats import ttest_ind

from benchmarks.repeated import World, families, resampled, right
from xfer.errors import DataError
from xfer.evaluate.bootstrap import Resampled, draw_patients, intervals
from xfer.evaluate.independent import apart
from xfer.evaluate.intervals import wilson
from xfer.evaluate.repeated import difference, interval
from xfer.evaluate.resampled import resample_binary, resample_classes
from xfer.evaluate.trainings import METRICS, common_spread, repeated

LABELS = (np.arange(120) % 3 == 0).astype(int)
PATIENTS = np.arange(120) // 2


def scored(seed: int, labels: np.ndarray = LABELS, patients: np.ndarray = PATIENTS) -> Resampled:
    scores = np.random.default_rng(seed).normal(labels, 0.7)
    probabilities = 1 / (1 + np.exp(-4 * (scores - 0.5)))
    return resample_binary(probabilities, labels, patients, threshold=0.5, draws=400)


def of_answers(*correct: np.ndarray) -> list[Resampled]:
    """Accuracies, of answers bool (images,) of images of different patients."""
    patients = np.arange(len(correct[0]))
    taken = np.concatenate(list(draw_patients(patients, draws=2000, seed=0)))
    return resampled(np.array(correct), taken.astype(float), patients)


def first_right(images: int, count: int) -> np.ndarray:
    return np.arange(images) < count


# --------------------------------------------------------------------------------------------------
# One training


@pytest.mark.parametrize("name", METRICS)
def test_the_interval_of_one_training_is_that_of_the_report(name: str) -> None:
    found = scored(0)
    assert interval(repeated([found], name)) == pytest.approx(intervals(found)[name])


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "auroc"])
def test_so_it_is_with_several_classes(name: str) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    logits = generator.normal(size=(90, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = resample_classes(probabilities, labels, ["a", "b", "c"], labels // 1 + np.arange(90))
    assert interval(repeated([found], name)) == pytest.approx(intervals(found)[name])


@pytest.mark.parametrize(("both", "one", "other", "none"), [(240, 30, 12, 18), (150, 60, 60, 30)])
def test_a_paired_difference_is_nearly_newcombes(
    both: int, one: int, other: int, none: int
) -> None:
    images = both + one + other + none
    first = np.repeat([True, True, False, False], [both, one, other, none])
    second = np.repeat([True, False, True, False], [both, one, other, none])
    mine, theirs = (repeated([each], "accuracy") for each in of_answers(first, second))
    found = difference(mine, theirs, paired=True)
    # Newcombe, Statistics in Medicine 17, 1998, paired data, method 10 without the correction
    (a, low_a, high_a), (b, low_b, high_b) = (
        (each.mean(), *wilson(int(each.sum()), images)) for each in (first, second)
    )
    phi = np.corrcoef(first, second)[0, 1]

    def end(one_way: float, other_way: float) -> float:
        return sqrt(one_way**2 - 2 * phi * one_way * other_way + other_way**2)

    assert found.value == pytest.approx((one - other) / images)
    assert found.low == pytest.approx(a - b - end(a - low_a, high_b - b), abs=0.007)
    assert found.high == pytest.approx(a - b + end(high_a - a, b - low_b), abs=0.007)
    # and nearly McNemar's: what both answer alike says nothing of the difference
    bare = sqrt(one + other - (one - other) ** 2 / images) / images
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * bare, rel=0.08)


@pytest.mark.parametrize(
    ("differ", "differences", "told"),
    [(5, 1, False), (7, 1, True), (8, 10, False), (13, 10, True)],
)
def test_few_answers_that_differ_are_no_proof(differ: int, differences: int, told: bool) -> None:
    """Of 300, all one way; exact tests: .06 of 5, .016 of 7; .008 of 8, .0002 of 13, due .005."""
    mine, theirs = (
        repeated([each], "accuracy")
        for each in of_answers(first_right(300, 250 + differ), first_right(300, 250))
    )
    found = difference(mine, theirs, paired=True, confidence=1 - 0.05 / differences)
    assert (found.low > 0) is told


def test_equal_answers_are_not_told_apart_and_the_interval_has_a_width() -> None:
    same = repeated(of_answers(first_right(300, 270)), "accuracy")
    found = difference(same, same, paired=True)
    assert found.value == 0
    assert found.low == pytest.approx(-1.96 * sqrt(2) / 300, rel=0.01)
    assert found.high == -found.low


def test_on_other_images_a_difference_is_newcombes() -> None:
    mine, theirs = (
        repeated(of_answers(first_right(n, right)), "accuracy") for n, right in ((70, 56), (80, 48))
    )
    found = difference(mine, theirs, paired=False)
    assert found == apart((56 / 70, *wilson(56, 70)), (48 / 80, *wilson(48, 80)))
    wider = difference(mine, theirs, paired=False, confidence=0.995)
    assert wider.low < found.low < found.high < wider.high


@pytest.mark.parametrize("alike", [0.9, 0.5, 0.0])
def test_pairs_are_narrower_by_as_much_as_answers_are_alike(alike: float) -> None:
    world, generator = World(alike=alike, images=600), np.random.default_rng(3)
    answers = right(world, 2, generator)
    one, other = (repeated([each], "accuracy") for each in of_answers(*answers))
    paired, unpaired = (difference(one, other, paired=paired) for paired in (True, False))
    ratio = (paired.high - paired.low) / (unpaired.high - unpaired.low)
    assert ratio == pytest.approx(sqrt(1 - np.corrcoef(answers)[0, 1]), rel=0.08)
    assert (ratio < 0.9) is (alike > 0)


# --------------------------------------------------------------------------------------------------
# Several trainings


def with_values(values: list[float]) -> list[Resampled]:
    """Trainings on which patients have no influence; 2,000 of them."""
    (one,) = of_answers(first_right(2000, 1600))
    return [
        replace(one, values={"accuracy": value}, draws={"accuracy": np.full(2000, value)})
        for value in values
    ]


def test_without_the_influence_of_patients_a_difference_is_welchs() -> None:
    one, other = [0.81, 0.86, 0.84], [0.78, 0.7, 0.77, 0.74]
    mine, theirs = (repeated(with_values(each), "accuracy") for each in (one, other))
    found = difference(mine, theirs, paired=True)
    oracle = ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), abs=0.001)


def test_a_spread_that_others_have_is_believed() -> None:
    """Two trainings that are alike by chance, beside configurations whose are not."""
    lucky, other = (repeated(with_values(each), "accuracy") for each in ([0.8, 0.8], [0.7, 0.8]))
    spread = common_spread([lucky, other, repeated(with_values([0.9]), "accuracy")])
    assert spread.whole == pytest.approx(0.005 / 2)  # variances 0 and .005
    assert spread.beyond == spread.whole  # patients have no part in it
    assert spread.freedom == 2
    narrow, wide = interval(lucky), interval(lucky, spread=spread)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    alone = difference(lucky, lucky, paired=True)
    together = difference(lucky, lucky, paired=True, spread=spread)
    assert together.high > 5 * alone.high


def test_trainings_narrow_what_they_err_on_by_themselves_and_widen_by_their_spread() -> None:
    widths = {}
    for spread in (0.0, 0.04):
        world = World(alike=0.3, images=400, spread=spread)
        found = of_answers(*right(world, 6, np.random.default_rng(1)))
        for count in (1, 6):
            low, high = interval(repeated(found[:count], "accuracy"))
            widths[spread, count] = high - low
    assert widths[0.0, 6] < 0.8 * widths[0.0, 1]
    assert widths[0.04, 6] > 1.2 * widths[0.0, 6]


def test_the_spread_beyond_what_patients_do_is_found() -> None:
    for spread, low, high in ((0.0, 0.0, 0.008), (0.03, 0.024, 0.036)):
        world = World(spread=spread, images=1000, accuracy=0.85)
        correct = right(world, 120, np.random.default_rng(0))
        rows = of_answers(*correct)
        found = [repeated(rows[i : i + 3], "accuracy") for i in range(0, 120, 3)]
        assert low <= sqrt(common_spread(found).beyond) <= high


def coverage(world: World, samples: int) -> float:
    """How often the interval of the mean over trainings holds the configuration's accuracy."""
    generator = np.random.default_rng(0)
    patients = world.patients
    taken = np.concatenate(list(draw_patients(patients, draws=500, seed=0))).astype(float)
    truth = right(replace(world, images=200, per_patient=1), 20_000, generator).mean()
    held = 0
    for _ in range(samples):
        found = resampled(right(world, world.trainings, generator), taken, patients)
        low, high = interval(repeated(found, "accuracy"))
        held += low <= truth <= high
    return held / samples


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_the_interval_of_three_trainings_holds_the_configuration(spread: float) -> None:
    assert coverage(World(spread=spread, trainings=3), 200) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("trainings", [2, 3, 5])
@pytest.mark.parametrize("per_patient", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03])
def test_the_interval_of_some_trainings_holds_the_configuration(
    trainings: int, per_patient: int, spread: float
) -> None:
    world = World(spread=spread, trainings=trainings, per_patient=per_patient, accuracy=0.88)
    assert coverage(world, 1000) >= (0.91 if trainings == 2 else 0.93)  # of two: .925 at .03


# --------------------------------------------------------------------------------------------------
# Whole families


@pytest.mark.parametrize(("trainings", "spread"), [(1, 0.0), (3, 0.02)])
def test_equally_good_ones_are_told_apart_in_a_twentieth_of_families(
    trainings: int, spread: float
) -> None:
    world = World(trainings=trainings, spread=spread)
    ours, patients, _ = np.mean(list(families(world, 50)), axis=0)
    assert ours <= 0.05
    assert patients > 0.3 or trainings == 1  # who leaves the spread out errs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainings", "spread"), [(1, 0.0), (2, 0.01), (2, 0.03), (3, 0.0), (3, 0.02), (5, 0.02)]
)
@pytest.mark.parametrize(("accuracy", "per_patient"), [(0.75, 1), (0.97, 1), (0.9, 3)])
def test_so_it_is_in_many_worlds(
    trainings: int, spread: float, accuracy: float, per_patient: int
) -> None:
    world = World(
        trainings=trainings, spread=spread, accuracy=accuracy, per_patient=per_patient, alike=0.7
    )
    errs = np.mean(list(families(world, 400)), axis=0)[0]
    assert errs <= 0.05 + 2 * sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("trainings", [1, 3])
def test_fifteen_points_on_300_images_are_found(trainings: int) -> None:
    generator = np.random.default_rng(0)
    worse = World(accuracy=0.75, spread=0.01)
    better = replace(worse, accuracy=0.9)
    found = 0
    for _ in range(10):
        models = [right(world, trainings, generator) for world in (better, *[worse] * 10)]
        answered = of_answers(*np.concatenate(models))
        first, *others = [
            repeated(answered[i : i + trainings], "accuracy")
            for i in range(0, len(answered), trainings)
        ]
        gaps = [
            difference(
                first, other, paired=True, confidence=1 - 0.05 / 10,
                spread=common_spread([first, *others]),
            )
            for other in others
        ]  # fmt: skip
        found += sum(gap.low > 0 for gap in gaps)
    assert found >= 0.98 * 10 * 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auroc", "balanced_accuracy", "mcc", "f1", "precision", "recall"])
def test_other_metrics_err_no_more_often(name: str) -> None:
    """Two equally good configurations of two trainings, 150 images, a third positive."""
    generator = np.random.default_rng(0)
    labels = (np.arange(150) % 3 == 0).astype(int)
    told = 0
    for _ in range(400):
        hard = generator.normal(size=150)
        rows = [
            resample_binary(
                1 / (1 + np.exp(-(1.6 * (2 * labels - 1) + hard + generator.normal(size=150)))),
                labels, np.arange(150), threshold=0.5, draws=300,
            )
            for _ in range(4)
        ]  # fmt: skip
        gap = difference(repeated(rows[:2], name), repeated(rows[2:], name), paired=True)
        told += gap.low > 0 or gap.high < 0
    assert told / 400 <= 0.05 + 2 * sqrt(0.05 * 0.95 / 400)


# --------------------------------------------------------------------------------------------------
# What is not there


def test_what_is_no_pair_is_refused() -> None:
    one, other = scored(0), scored(0, labels=1 - LABELS)
    with pytest.raises(DataError, match="only answers to the same images"):
        repeated([one, other], "accuracy")
    with pytest.raises(DataError, match="only answers to the same images"):
        difference(repeated([one], "recall"), repeated([other], "recall"), paired=True)
    with pytest.raises(DataError, match="accuracy and recall are no pair"):
        difference(repeated([one], "accuracy"), repeated([one], "recall"), paired=True)
    with pytest.raises(DataError, match="a metric must be among accuracy"):
        repeated([one], "accuracies")
    with pytest.raises(DataError, match="needs a training"):
        repeated([], "accuracy")


def test_a_metric_that_is_none_has_no_interval() -> None:
    one = scored(0, labels=np.zeros(120, int))
    found = repeated([one, scored(1, labels=np.zeros(120, int))], "auroc")
    assert np.isnan([found.value, *interval(found)]).all()
    assert np.isnan(difference(found, found, paired=True).low)
    assert common_spread([found]).freedom == 0


def test_of_one_patient_nothing_is_known() -> None:
    one = repeated([scored(s, patients=np.zeros(120, int)) for s in (0, 1)], "mcc")
    assert interval(one) == (-1, 1)
    assert difference(one, one, paired=True).high == 2


def test_nothing_called_positive_has_no_precision_to_compare() -> None:
    none = resample_binary(np.full(120, 0.2), LABELS, PATIENTS, threshold=0.5, draws=400)
    found = difference(
        repeated([scored(0)], "precision"), repeated([none], "precision"), paired=True
    )
    assert (found.low, found.high) == (-1, 1)
