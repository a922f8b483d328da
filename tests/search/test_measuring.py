"""The number of workers is chosen by measurement, and never where another one is much faster."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from search.measuring import MARGIN, MeasuringError, choose, measured, recalled
from search.workers import Slots, candidates, plan
from search.works import describe_each
from xfer.recipe import ConvNet, Recipe
from xfer.speed import Line, Pace, Speed, model_key

SHAPE = {"classes": 2, "size": 16, "channels": 1}
RECIPES = [Recipe(model=ConvNet(kernels=(4,)), lr=1e-3)]
TWO = [Slots(workers=n, threads=2 // n, gpus_per_trial=0.0, device="cpu") for n in (2, 1)]


def speed(seconds: float, *models: str, threads: int = 1) -> Speed:
    """A speed of which `mean` reads how long a trial takes."""
    line = Line(call=0.0, image=0.0)
    pace = Pace(
        madds=(1,), pixels=line, forward=(line,), training=(line,),
        first=(line,), head=line, update=0.0, build=seconds,
    )  # fmt: skip
    return Speed(threads=threads, device="cpu", models=dict.fromkeys(models, pace), changes={})


def mean(speed: Speed, models: frozenset[str]) -> float:
    paces = [speed.models[model].build for model in models]
    return sum(paces) / len(paces)


def chosen(side_by_side: float, alone: float) -> tuple[int, Any]:
    """Workers, where a trial takes so long beside another one, and with all threads."""

    def measure(slots: Slots, limit_s: float) -> Sequence[Speed]:
        seconds = side_by_side if slots.workers == 2 else alone
        return [speed(seconds, "a", threads=slots.threads)] * slots.workers

    got = choose(TWO, measure, mean)
    assert got.speed.threads == got.slots.threads
    return got.slots.workers, got


@pytest.mark.parametrize(
    ("side_by_side", "alone", "workers"),
    [
        (10.0, 6.0, 2),  # 2 in 10 s against 1 in 6 s
        (10.0, 5.0, 2),  # the same: the rule's
        (10.0, 5.0 / 1.08, 2),  # faster, but not by more than measurements differ
        (10.0, 5.0 / 1.12, 1),
        (10.0, 1.0, 1),
    ],
)
def test_another_number_of_workers_is_chosen_where_it_is_clearly_faster(
    side_by_side: float, alone: float, workers: int
) -> None:
    assert chosen(side_by_side, alone)[0] == workers


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 3.0])
def test_what_is_chosen_is_never_under_nine_tenths_of_the_better(ratio: float) -> None:
    _, got = chosen(10.0, 5.0 / ratio)
    rates = {each.workers: each.trials_per_hour for each in got.tried}
    assert rates[got.slots.workers] >= 0.9 * max(rates.values())
    assert MARGIN <= 1 / 0.9


def test_what_was_compared_is_on_record() -> None:
    _, got = chosen(10.0, 4.0)
    assert got.to_json() == {
        "workers": 1, "threads": 2, "gpus_per_trial": 0.0, "device": "cpu", "chosen": "measured",
        "tried": [
            {"workers": 2, "threads": 1, "trials_per_hour": pytest.approx(720)},
            {"workers": 1, "threads": 2, "trials_per_hour": pytest.approx(900)},
        ],
    }  # fmt: skip


def test_only_models_that_every_number_had_time_for_are_compared() -> None:
    def measure(slots: Slots, limit_s: float) -> Sequence[Speed]:
        two = slots.workers == 2
        # Of the second model the one worker knows nothing; it would make two workers look slow.
        return [speed(10.0, "a", *(["b"] if two else []))] * slots.workers

    asked: list[frozenset[str]] = []

    def noted(speed: Speed, models: frozenset[str]) -> float:
        asked.append(models)
        return 1.0

    choose(TWO, measure, noted)
    assert set(asked) == {frozenset({"a"})}


def test_where_nothing_can_be_measured_it_is_said() -> None:
    with pytest.raises(MeasuringError, match="no memory for two images"):
        choose(TWO, lambda slots, _: [speed(1.0)] * slots.workers, mean)


def test_the_rules_number_is_compared_with_half_of_it_and_with_one() -> None:
    shared = [(each.workers, each.threads) for each in candidates(plan(cpus=16, gpus=0), cpus=16)]
    assert shared == [(4, 4), (2, 8), (1, 16)]
    assert len(candidates(plan(cpus=1, gpus=0), cpus=1)) == 1
    assert len(candidates(plan(cpus=4, gpus=1), cpus=4)) == 1  # a GPU's worker has all of it


def test_a_short_search_is_measured_here_and_shared_out_by_the_rule() -> None:
    described = describe_each(RECIPES, **SHAPE)
    how: dict[str, Any] = {"slots": TWO[0], "madds": 1e6, "shape": SHAPE}
    got = measured(RECIPES, described, asked=False, **how)
    assert (got.slots, got.chosen, got.tried) == (TWO[0], "rule", ())
    assert list(got.speed.models) == [model_key(RECIPES[0].model)]
    assert measured(RECIPES, described, asked=True, **how).chosen == "asked"


@pytest.mark.slow  # two processes load torch
def test_a_long_search_is_measured_by_processes_side_by_side() -> None:
    described = describe_each(RECIPES, **SHAPE)
    how: dict[str, Any] = {"slots": TWO[0], "madds": 1e15, "shape": SHAPE}
    got = measured(RECIPES, described, asked=False, **how)
    assert got.chosen == "measured"
    assert {each.workers for each in got.tried} == {1, 2} or len(got.tried) == 1  # of one core
    assert got.speed.threads == got.slots.threads
    assert all(pace.build > 0 for pace in got.speed.models.values())


@pytest.mark.slow
def test_a_process_that_dies_is_told_with_its_last_words() -> None:
    described = describe_each(RECIPES, **SHAPE)
    slots = Slots(workers=1, threads=0, gpus_per_trial=0.0, device="cpu")  # no such thing
    with pytest.raises(MeasuringError, match="threads must be at least 1, got 0"):
        measured(RECIPES, described, slots=slots, asked=True, madds=1e15, shape=SHAPE)


def test_a_run_that_goes_on_with_the_same_workers_measures_nothing() -> None:
    _, began = chosen(10.0, 4.0)
    manifest = json.loads(json.dumps({"workers": began.to_json(), "speed": began.speed.to_json()}))
    again = recalled(began.slots, manifest)
    assert again == replace(began, chosen="recorded")
    assert recalled(TWO[0], manifest) is None  # --workers asked for another number
    assert recalled(began.slots, {"workers": None, "speed": None}) is None  # killed before
