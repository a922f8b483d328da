"""The forecast is arithmetic."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.disks import Need, disks
from search.forecast import forecast, said, seconds_left
from search.works import Work, describe_each, madds_of, works_of
from xfer.recipe import ConvNet, Head, Recipe
from xfer.speed import Line, Pace, Speed, model_key, seconds_of

WORK = Work(seconds=20.0, again=30.0, epochs=8, weight_bytes=10_000_000)


def made(**changes: Any):
    values: dict[str, Any] = {"trials": 16, "train_images": 400, "workers": 2}
    return forecast(changes.pop("works", [WORK]), **(values | changes))


@given(
    trials=st.integers(1, 500),
    workers=st.integers(1, 16),
    seconds=st.floats(0.01, 1e5),
    minutes=st.none() | st.floats(0.1, 1e4),
)
def test_the_range_holds_the_expectation(
    trials: int, workers: int, seconds: float, minutes: float | None
) -> None:
    f = made(works=[Work(seconds=seconds)], trials=trials, workers=workers, minutes=minutes)
    assert 0 < f.low <= f.seconds <= f.high


@given(trials=st.integers(1, 300), workers=st.integers(1, 8))
def test_more_trials_take_longer_and_more_workers_do_not(trials: int, workers: int) -> None:
    one = made(trials=trials, workers=workers)
    assert made(trials=trials + workers, workers=workers).seconds > one.seconds
    assert made(trials=trials, workers=workers + 1).seconds <= one.seconds


def test_trials_cost_the_mean_of_what_is_drawn_and_known_ones_their_own() -> None:
    drawn = [Work(seconds=10.0), Work(seconds=30.0)]
    instant = made(works=[Work(seconds=0.0)], trials=1, workers=1).seconds
    of = {"trials": 1, "workers": 1}
    assert made(works=drawn, **of).seconds - instant == pytest.approx(20)
    known = [Work(seconds=500.0), *drawn]
    assert made(works=known, known=1, **of).seconds - instant == pytest.approx(500)
    # A round is not pruned, the others are: both alike where all cost the same.
    alike = made(works=[Work(seconds=20.0)], trials=9, workers=1).seconds
    assert made(works=[Work(seconds=20.0), *drawn], known=1, trials=9, workers=1).seconds == alike


def test_what_trials_have_in_common_is_paid_once() -> None:
    shared = [Work(seconds=1.0, prefix=40.0, shared="a"), Work(seconds=1.0, prefix=0, shared="b")]
    alone = [Work(seconds=1.0)]
    for trials in (1, 100):
        more = made(works=shared, trials=trials).seconds - made(works=alone, trials=trials).seconds
        expected = 40.0 * (1 - 0.5**trials) / 2  # drawn at least once, shared by two workers
        assert more == pytest.approx(expected)


def test_training_the_best_again_is_never_pruned() -> None:
    f = made(again=3, again_folds=5)
    assert f.again_seconds == pytest.approx(2 * 5 * 30.0)  # three on two workers: two rounds
    assert f.seconds - made().seconds == pytest.approx(f.again_seconds)


def test_a_limit_in_minutes_bounds_the_forecast() -> None:
    f = made(minutes=2, works=[Work(seconds=1e4)])
    assert f.high <= 2 * 60 + 60
    assert "ends after 2 minutes of search" in said(f)[1]


def test_the_first_line_says_what_will_run_and_for_how_long() -> None:
    line = said(made())[0]
    assert line.startswith("16 trials of up to 8 epochs on 400 images, 2 workers: about ")
    assert re.search(r"about .+ \(.+ to .+\)$", line)
    assert said(made(trials=1, workers=1, works=[Work(seconds=1.0)]))[0].startswith(
        "1 trial of up to 1 epoch on 400 images, 1 worker: about "
    )


def test_a_disk_that_is_too_small_is_a_problem_with_its_numbers(tmp_path: Path) -> None:
    needs = [
        Need(path=tmp_path / "not/yet", bytes=3 * 10**18, what="decoded images"),
        Need(path=tmp_path, bytes=10**18, what="checkpoints"),
    ]
    f = made(needs=needs)
    (disk,) = f.disks  # both on one disk, which has to hold both
    assert disk.needed == 4 * 10**18
    (problem,) = f.problems()
    assert "4000000.0 TB are needed (decoded images 3000000.0 TB, checkpoints" in problem
    assert "--out" in problem


def test_a_disk_that_is_large_enough_is_no_problem(tmp_path: Path) -> None:
    f = made(needs=[Need(path=tmp_path, bytes=10, what="checkpoints")])
    assert f.problems() == []
    assert any(line.startswith(f"disk {tmp_path}: 10 B, ") for line in said(f))
    assert disks([]) == ()


def test_more_workers_than_memory_holds_are_a_problem() -> None:
    f = made(workers=10**6)
    if f.memory_free is None:
        pytest.skip("this machine does not say how much memory is free")
    assert "1000000 workers need at least 740.0 TB of memory" in f.problems()[0]


def test_a_forecast_without_recipes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a recipe"):
        made(works=[])


@pytest.mark.parametrize(
    ("done", "elapsed", "remaining", "limit", "left"),
    [
        (0, 10, 5, None, None),  # no pace yet
        (0, 10, 5, 60, 50),  # but a limit
        (2, 10, 4, None, 20),
        (2, 10, 4, 15, 5),
        (2, 10, 4, 5, 0),  # past it
        (2, 10, 0, None, 0),
    ],
)
def test_time_left_follows_the_pace_up_to_the_limit(
    done: float, elapsed: float, remaining: float, limit: float | None, left: float | None
) -> None:
    assert seconds_left(done=done, elapsed=elapsed, remaining=remaining, limit=limit) == left


def test_training_is_counted_as_a_forward_pass_and_three_of_the_trained_part() -> None:
    of = Recipe(model=ConvNet(kernels=(4, 8)), lr=1e-3, epochs=2)
    (its,) = describe_each([of], classes=2, size=16, channels=1)
    assert its.prefix_madds == 0
    how = {"epochs": 9, "train_images": 5, "val_images": 3}
    assert madds_of(of, its, **how) == 2 * (5 * 3 + 3) * its.suffix_madds


def test_a_works_seconds_are_those_of_its_recipe_and_what_is_around() -> None:
    of = Recipe(model=ConvNet(kernels=(4,)), lr=1e-3)
    line = Line(call=0.0, image=1e-3)
    pace = Pace(
        madds=(1,), pixels=line, forward=(line,), training=(line,),
        first=(line,), head=line, update=0.0, build=0.0,
    )  # fmt: skip
    speed = Speed(threads=1, device="cpu", models={model_key(of.model): pace}, changes={})
    described = describe_each([of, of], classes=2, size=16, channels=1)
    how = {"epochs": 2, "train_images": 100, "val_images": 10}
    first, second = works_of([of, of], described, speed, again_images=200, **how)
    assert first == second
    expected = seconds_of(of, described[0], speed, stored=False, **how).training
    assert expected < first.seconds < expected + 3
    assert first.again > first.seconds
    assert first.weight_bytes == 4 * described[0].parameters


def test_recipes_that_differ_in_their_training_alone_are_described_once() -> None:
    one = Recipe(model=ConvNet(kernels=(4,)), lr=1e-3)
    other = replace(
        one, model=replace(one.model, dropout=0.3), head=Head(dropout=0.2), lr=1.0, batch_size=8
    )
    wider = replace(one, head=Head(dense=(8,)))
    first, second, third = describe_each([one, other, wider], classes=2, size=16, channels=1)
    assert first is second
    assert third.parameters > first.parameters


def test_of_a_cluster_only_the_workers_of_this_machine_need_its_memory() -> None:
    alone, shared = made(workers=64), made(workers=64, here=2)
    assert shared.memory * 32 == alone.memory
    assert shared.seconds == alone.seconds
