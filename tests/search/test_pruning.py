"""Whom successive halving stops: never on a difference that chance alone would make."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from recorded import result_of
from recorded import space as recorded_space

from search.space import Trial
from search.study import Record
from search.study.halving import is_poor as is_poor_at
from search.study.halving import rungs
from search.study.rivals import Rung
from xfer.recipe import ConvNet, HeadFirst, Pretrained, Recipe

EPOCHS = 20
FAR = [0.02, -0.02] * 10
"""Of a trial against one that is alike without each group: a standard error of 0.087."""


@pytest.fixture
def record() -> Iterator[Record]:
    with Record(InMemoryStorage(), name="s", seed=0, epochs=EPOCHS) as opened:
        yield opened


def report(
    record: Record, epochs: dict[int, float], left_out: dict[int, list[float]] | None = None,
    space: Any = recorded_space,
) -> int:  # fmt: skip
    """A trial with these scores, and with these scores' scores without each group."""
    asked = record.ask(space)
    best = -1.0
    for epoch, score in epochs.items():
        more: dict[str, Any] = {"best": score > best}
        if left_out is not None:
            more["left_out"] = left_out[epoch]
        record.report(asked.number, result_of(asked.recipe, epoch, score) | more)
        best = max(best, score)
    return asked.number


def told(record: Record, *scores: float, spread: list[float] | None) -> int:
    """A trial with these scores, each as far spread."""
    epochs = dict(enumerate(scores, start=1))
    left_out = spread and {e: [s + more for more in spread] for e, s in epochs.items()}
    return report(record, epochs, left_out or None)


# --------------------------------------------------------------------------------------------------
# The rule


def is_poor(
    score: float, others: Sequence[float], errors: Sequence[float | None] | None = None
) -> bool:
    """A trial of this score, the last to come to a rung, against others with errors of theirs."""
    rung = Rung()
    for number, each in enumerate([*others, score]):
        rung.add(number, each)
    return is_poor_at(rung, len(others), lambda other: None if errors is None else errors[other])


SCORES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=12)


@given(SCORES, st.floats(0, 1), st.data())
def test_who_is_stopped_would_be_by_order_alone_and_lacks_more_than_the_error(
    others: list[float], score: float, data: st.DataObject
) -> None:
    errors = data.draw(
        st.lists(st.floats(0, 0.5), min_size=len(others), max_size=len(others)), label="errors"
    )
    assert is_poor(score, others) == is_poor(score, others, [0.0] * len(others))
    assert not is_poor(score, others, [2.0] * len(others))
    if is_poor(score, others, errors):
        assert is_poor(score, others)
        ahead = [other for other in others if other > score]
        assert len(ahead) >= (len(others) + 1) // 3
        least = min(e for o, e in zip(others, errors, strict=True) if o in ahead)
        assert max(ahead) - score > least


@given(SCORES, st.floats(0, 1), st.data())
def test_the_order_of_the_others_is_of_no_effect(
    others: list[float], score: float, data: st.DataObject
) -> None:
    error = st.none() | st.floats(0, 0.5)
    pairs = [(other, data.draw(error)) for other in others]
    again = data.draw(st.permutations(pairs))
    one, other = (
        is_poor(score, [o for o, _ in each], [e for _, e in each]) for each in (pairs, again)
    )
    assert one == other


def test_the_error_that_counts_is_that_of_the_boundary() -> None:
    others = [0.9, 0.8, 0.7, 0.6, 0.5]  # of six the second best is the last that goes on
    assert not is_poor(0.75, others, [0.0, 0.06, 0.0, 0.0, 0.0])
    assert is_poor(0.75, others, [1.0, 0.04, 1.0, 1.0, 1.0])
    assert not is_poor(0.75, [0.8, 0.8, 0.7], [0.06, 0.04, 0.0])  # of equals, the greater one
    assert not is_poor(0.75, [0.8, 0.8, 0.7], [0.04, 0.06, 0.0])


def test_a_trial_without_any_score_is_stopped_whatever_the_error() -> None:
    assert is_poor(float("-inf"), [0.8, 0.6], [9.0, 9.0])
    assert not is_poor(float("-inf"), [float("-inf")] * 2, [None, None])


@given(SCORES, st.floats(0, 1), st.data())
def test_a_rung_that_is_kept_in_order_says_what_sorting_all_of_it_anew_does(
    others: list[float], score: float, data: st.DataObject
) -> None:
    errors = data.draw(
        st.lists(st.floats(0, 0.5), min_size=len(others), max_size=len(others)), label="errors"
    )
    ordered = sorted([score, *others], reverse=True)
    poor = False
    if len(ordered) >= 3 and score < (bound := ordered[len(ordered) // 3 - 1]):
        chance = max(e for o, e in zip(others, errors, strict=True) if o == bound)
        poor = bound - score > chance * 1.001
    assert is_poor(score, others, errors) == poor


# --------------------------------------------------------------------------------------------------
# The study


def test_a_difference_within_its_standard_error_stops_nobody(record: Record) -> None:
    for score in (0.80, 0.40):
        told(record, *[score] * 3, spread=[0.0] * 20)
    alike = told(record, *[0.75] * 3, spread=FAR)
    lower = told(record, *[0.70] * 3, spread=FAR)
    sure = told(record, *[0.75] * 3, spread=[0.0] * 20)
    assert record.should_prune(alike) is None
    assert record.should_prune(lower) == "among the poorer after epoch 3"
    assert record.should_prune(sure) == "among the poorer after epoch 3"


@pytest.mark.parametrize("spread", [None, [], [0.0]])
def test_where_nothing_is_known_of_the_spread_any_difference_counts(
    record: Record, spread: list[float] | None
) -> None:
    for score in (0.80, 0.40):
        told(record, *[score] * 3, spread=[0.0] * 20)
    assert record.should_prune(told(record, *[0.79] * 3, spread=spread)) is not None


def test_the_scores_that_are_compared_are_those_of_the_best_epoch_so_far(record: Record) -> None:
    none = [0.0] * 20
    for score in (0.80, 0.40):
        # What they become later is not what they were at the rung.
        later = {1: none, 2: none, 3: none, 4: FAR}
        report(record, {1: score, 2: 0.1, 3: 0.1, 4: 0.9}, later)
    by_first = report(record, {1: 0.75, 2: 0.1, 3: 0.1}, {1: FAR, 2: none, 3: none})
    by_last = report(record, {1: 0.1, 2: 0.1, 3: 0.75}, {1: FAR, 2: FAR, 3: none})
    assert record.should_prune(by_first) is None
    assert record.should_prune(by_last) is not None


def test_a_kill_between_the_spread_and_its_score_changes_nothing(record: Record) -> None:
    number = told(record, 0.5, spread=FAR)
    trial = record.study.trials[number]
    asked = result_of(trial.user_attrs["recipe"], 2, 0.6) | {"left_out": [0.6] * 20}
    write = record._storage.set_trial_intermediate_value

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    record._storage.set_trial_intermediate_value = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        record.report(number, asked)
    assert record.study.trials[number].user_attrs["left_out"].keys() == {"1", "2"}
    record._storage.set_trial_intermediate_value = write  # type: ignore[method-assign]
    record.report(number, asked)
    trial = record.study.trials[number]
    assert trial.user_attrs["left_out"]["2"] == [0.6] * 20
    assert trial.intermediate_values == {1: 0.5, 2: 0.6}


def test_a_mean_over_folds_is_compared_fold_by_fold() -> None:
    with Record(InMemoryStorage(), name="s", seed=0, epochs=EPOCHS, folds=5) as record:
        for folds, spread in (
            ([0.8, 0.9, 0.7], [0.0] * 20), ([0.2, 0.2, 0.2], [0.0] * 20),
            ([0.8, 0.9, 0.60], FAR), ([0.8, 0.9, 0.45], FAR),
        ):  # fmt: skip
            number = record.ask(recorded_space).number
            for count in (1, 2, 3):
                mean = float(np.mean(folds[:count]))
                left_out = [[fold + more for more in spread] for fold in folds[:count]]
                result = result_of({}, count, mean) | {"left_out": left_out}
                record.report(number, result | {"scores": folds[:count], "epochs": [1] * count})
        # Three folds, each with 0.087: of the mean it is 0.050.
        assert record.should_prune(2) is None
        assert record.should_prune(3) == "among the poorer after fold 3"


# --------------------------------------------------------------------------------------------------
# The wait


def with_head_first(epochs: int) -> Any:
    def space(trial: Trial) -> Recipe:
        trial.suggest_float("rate", 1e-4, 1e-2)
        return Recipe(
            model=Pretrained("resnet18", unfreeze_depth=1), lr=1e-3, epochs=EPOCHS,
            head_first=HeadFirst(epochs=epochs, lr=1e-3) if epochs else None,
        )  # fmt: skip

    return space


@pytest.mark.parametrize(("epochs", "rung"), [(0, 3), (2, 9), (4, 9), (7, 9), (9, None)])
def test_a_trial_is_judged_after_three_epochs_that_train_more_than_the_head(
    record: Record, epochs: int, rung: int | None
) -> None:
    assert rungs(EPOCHS) == (3, 9)
    for score in (0.8, 0.7):
        told(record, *[score] * 19, spread=None)
    asked = record.ask(with_head_first(epochs))
    assert asked.problem is None
    number = asked.number
    stopped = None
    for epoch in range(1, 20):
        record.report(number, result_of({}, epoch, 0.1))
        if record.should_prune(number) is not None and stopped is None:
            stopped = epoch
    assert stopped == rung


def test_a_short_budget_is_judged_after_an_epoch_that_trains_more_than_the_head() -> None:
    def space(trial: Trial) -> Recipe:
        trial.suggest_float("rate", 1e-4, 1e-2)
        return Recipe(model=ConvNet(kernels=(4,)), lr=1e-3, epochs=3)

    with Record(InMemoryStorage(), name="s", seed=0, epochs=3) as record:
        for score in (0.8, 0.7, 0.1):
            number = record.ask(space).number
            record.report(number, result_of({}, 1, score))
        assert record.should_prune(number) is not None
        waits = record.ask(with_head_first(1)).number
        record.report(waits, result_of({}, 1, 0.1))
        assert record.should_prune(waits) is None
        assert record.study.trials[waits].state == TrialState.RUNNING
