"""The forecast is arithmetic; only one test measures."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.disks import Need, disks
from search.forecast import Work, forecast, measure_speed, said, seconds_left

WORK = Work(prefix=80e6, suffix=20e6, epochs=8, weight_bytes=10_000_000)


def made(**changes: Any):
    values: dict[str, Any] = {
        "trials": 16, "train_images": 400, "val_images": 100, "speed": 10e9, "workers": 2,
    }  # fmt: skip
    return forecast(changes.pop("works", [WORK]), **(values | changes))


def test_training_costs_a_forward_pass_and_three_of_the_trained_part() -> None:
    assert Work(prefix=10, suffix=1, epochs=2).multiply_adds(train_images=5, val_images=3) == (
        2 * (5 * (10 + 3) + 3 * (10 + 1))
    )


@given(
    trials=st.integers(1, 500),
    workers=st.integers(1, 16),
    images=st.integers(1, 10**5),
    minutes=st.none() | st.floats(0.1, 1e4),
)
def test_the_range_holds_the_expectation(
    trials: int, workers: int, images: int, minutes: float | None
) -> None:
    f = made(trials=trials, workers=workers, train_images=images, minutes=minutes)
    assert 0 < f.low <= f.seconds <= f.high


@given(trials=st.integers(1, 300), workers=st.integers(1, 8))
def test_more_trials_take_longer_and_more_workers_do_not(trials: int, workers: int) -> None:
    one = made(trials=trials, workers=workers)
    assert made(trials=trials + workers, workers=workers).seconds > one.seconds
    assert made(trials=trials, workers=workers + 1).seconds <= one.seconds


def test_twice_the_speed_halves_the_training() -> None:
    slow, fast, instant = (made(speed=s).seconds for s in (1e9, 2e9, 1e15))
    assert slow - instant == pytest.approx(2 * (fast - instant), rel=1e-3)


def test_a_limit_in_minutes_bounds_the_forecast() -> None:
    f = made(minutes=2, speed=1e8)
    assert f.high <= 2 * 60 + 60
    assert "ends after 2 minutes of search" in said(f)[1]


def test_the_first_line_says_what_will_run_and_for_how_long() -> None:
    line = said(made())[0]
    assert line.startswith("16 trials of up to 8 epochs on 400 images, 2 workers: about ")
    assert re.search(r"about .+ \(.+ to .+\)$", line)
    assert said(made(trials=1, workers=1, works=[Work(prefix=1, suffix=1, epochs=1)]))[
        0
    ].startswith("1 trial of up to 1 epoch on 400 images, 1 worker: about ")


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


def test_a_forecast_without_recipes_or_speed_is_refused() -> None:
    for changes in ({"works": []}, {"speed": 0.0}):
        with pytest.raises(ValueError, match="needs a recipe and a speed"):
            made(**changes)


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


def test_measuring_is_quick_plausible_and_leaves_the_threads_alone() -> None:
    before = torch.get_num_threads()
    speed = measure_speed(threads=1, seconds=0.1)
    assert torch.get_num_threads() == before
    assert 1e8 < speed < 1e13
