"""Epochs are chosen on the same images as trials are: that choice is repeated, too."""

from math import exp

import numpy as np
import pytest
from test_selection import OBJECTIVES, SKILL, answers_of, labels_of, true_score

from xfer.errors import DataError
from xfer.evaluate.bags import bag_scores
from xfer.evaluate.correction import corrected
from xfer.evaluate.objectives import best_threshold
from xfer.recipe import Objective

AUROC = Objective("auroc")


def curves_of(rng, labels, *, trials, epochs, alike, learns=0.0):
    """Answers (trials * epochs, images) and each one's skill; epochs of a trial share `alike`.

    Each epoch is marginally as in `answers_of`; of `learns` epochs an epoch's skill lacks 1/e more.
    """
    skills = np.array([SKILL * (1 - (learns and exp(-e / learns))) for e in range(1, epochs + 1)])
    blocks = [answers_of(rng, labels, epochs, skills=skills, alike=alike) for _ in range(trials)]
    return np.concatenate(blocks), np.tile(skills, trials)


def biases(objective, labels, *, trials, epochs, searches, seed, alike=0.5, learns=0.0, repeats=4):
    """Of the chosen score, and corrected without and with all epochs: in standard errors.

    Against the true score of what won, at its threshold; the error is that of one fixed model.
    """
    rng = np.random.default_rng(seed)
    of_trial = np.repeat(np.arange(trials), epochs)
    everything = np.ones((1, len(labels)), np.int64)
    errors = []
    for _ in range(searches):
        answers, skills = curves_of(
            rng, labels, trials=trials, epochs=epochs, alike=alike, learns=learns
        )
        scores = bag_scores(objective, answers, labels, everything)[0]
        best = scores.reshape(trials, epochs).argmax(axis=1) + np.arange(trials) * epochs
        winner = best[scores[best].argmax()]
        threshold = best_threshold(objective, answers[winner], labels)[1]
        true = true_score(objective, skills[winner], threshold)
        told = {"seed": 0, "repeats": repeats}
        whole = corrected(answers, labels, None, objective, trials=of_trial, **told)
        blind = corrected(answers[best], labels, None, objective, **told)
        assert whole.naive == blind.naive == pytest.approx(scores.max())
        errors.append((whole.naive - true, blind.corrected - true, whole.corrected - true))
    return np.mean(errors, axis=0) / error_of_one(objective, rng, labels)


def error_of_one(objective, rng, labels, draws=500):
    """The spread of one model's score, at a threshold that was chosen elsewhere."""
    scores = answers_of(rng, labels, draws)
    if objective.name == "auroc":
        return bag_scores(objective, scores, labels, np.ones((1, len(labels)), np.int64)).std()
    weight = objective.recall_weight if objective.name == "recall_weighted" else 0.5
    recall, alarms = ((scores >= 0.5)[:, labels == label].mean(axis=1) for label in (1, 0))
    return (weight * recall + (1 - weight) * (1 - alarms)).std()


def test_the_luck_of_the_epoch_is_taken_off_too():
    """Eight trials of twelve epochs of equal skill: the trials' choice alone is not half of it."""
    naive, blind, whole = biases(
        AUROC, labels_of(40, 40), trials=8, epochs=12, searches=30, seed=0, repeats=2
    )
    assert naive > 1.0
    assert blind > 0.35
    assert abs(whole) <= 0.35


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "alike", "learns"),
    [
        (OBJECTIVES[0], 0.5, 0.0),
        (OBJECTIVES[1], 0.0, 0.0),
        (OBJECTIVES[4], 0.5, 0.0),
        (OBJECTIVES[0], 0.5, 3.0),
    ],
    ids=str,
)
def test_with_all_epochs_the_bias_is_within_a_third_of_a_standard_error(objective, alike, learns):
    """At 100 images: ten trials of fifteen epochs."""
    naive, blind, whole = biases(
        objective, labels_of(50, 50), trials=10, epochs=15, searches=100, seed=3, alike=alike,
        learns=learns, repeats=2,
    )  # fmt: skip
    assert naive > 1.0
    assert blind > 0.35
    assert abs(whole) <= 0.35


def test_candidates_that_are_each_a_trial_are_what_no_trials_say():
    labels = labels_of(20, 20)
    answers = answers_of(np.random.default_rng(0), labels, 5)
    one = corrected(answers, labels, None, AUROC, seed=0, repeats=2)
    assert corrected(answers, labels, None, AUROC, seed=0, repeats=2, trials=range(5)) == one


def test_of_epochs_that_are_equally_good_in_a_bag_the_first_is_the_trials():
    labels = np.tile([0, 1], 10)
    right = np.where(labels == 1, 0.9, 0.1)
    wrong = np.where(labels == 1, 0.7, 0.6)
    wrong[0] = 0.8  # as good as the other in bags without this image
    objective = Objective("balanced_accuracy")

    def found(first, second, trials):
        return corrected([first, second], labels, None, objective, seed=0, trials=trials).corrected

    alone = corrected([right], labels, None, objective, seed=0).corrected
    assert found(right, wrong, [7, 7]) == alone == 1.0
    assert found(wrong, right, [7, 7]) < found(right, wrong, [7, 8]) < alone
    assert found(wrong, right, [8, 7]) == found(right, wrong, [7, 8])


def test_trials_that_do_not_say_whose_each_candidate_is_are_refused():
    labels = labels_of(4, 4)
    answers = answers_of(np.random.default_rng(0), labels, 3)
    with pytest.raises(DataError) as caught:
        corrected(answers, labels, None, AUROC, seed=0, trials=[0, 0])
    assert "which trial it is of, got (2,) for 3 candidates" in str(caught.value)


def test_of_many_trials_without_a_mistake_a_few_speak_for_all_in_any_order():
    rng = np.random.default_rng(2)
    labels = np.tile([0, 1], 20)
    answers = 0.5 * rng.random((40, 40)) * 0.9 + 0.5 * labels
    objective = Objective("balanced_accuracy")
    found = corrected(answers, labels, None, objective, seed=0, repeats=2)
    assert found.naive == 1.0
    assert 0.9 < found.corrected <= 1.0  # a threshold between a bag's answers can miss another's
    again = corrected(answers[::-1], labels, None, objective, seed=0, repeats=2)
    assert again == found
