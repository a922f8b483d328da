"""Rows are shared out among those who want them, once each, and a dead maker's are free again."""

import multiprocessing
import os
import signal
import time

import pytest

from xfer.shares import share_of

ROWS = [f"row {number}" for number in range(10)]


def test_a_share_is_the_first_that_are_missing(tmp_path):
    with share_of(tmp_path, "a", lambda: ROWS, most=3) as mine:
        assert mine == ROWS[:3]
        with share_of(tmp_path, "a", lambda: ROWS, most=3) as next_:
            assert next_ == ROWS[3:6]
        with share_of(tmp_path, "b", lambda: ROWS, most=20) as of_another:
            assert of_another == ROWS
    assert not list(tmp_path.glob("*share-*"))


def test_where_nothing_is_missing_nobody_waits(tmp_path):
    with (
        share_of(tmp_path, "a", lambda: ROWS, most=3),
        share_of(tmp_path, "a", lambda: [], most=3) as mine,
    ):
        assert mine == []


def test_a_share_is_given_back_where_its_maker_fails(tmp_path):
    with pytest.raises(RuntimeError), share_of(tmp_path, "a", lambda: ROWS, most=3):
        raise RuntimeError
    with share_of(tmp_path, "a", lambda: ROWS, most=3) as mine:
        assert mine == ROWS[:3]


def hold(folder, begun):
    with share_of(folder, "a", lambda: ROWS, most=10):
        begun.set()
        time.sleep(60)


def test_a_dead_makers_share_is_free_again_for_who_waits_for_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    maker = context.Process(target=hold, args=(tmp_path, begun))
    maker.start()
    assert begun.wait(60)
    assert maker.pid is not None
    waiting = context.Pool(1)
    try:
        found = waiting.apply_async(take_twice, (tmp_path,))
        time.sleep(0.5)
        assert not found.ready(), "all rows are in the other's share"
        os.kill(maker.pid, signal.SIGKILL)
        assert found.get(60) == [[], ROWS]
    finally:
        waiting.terminate()
        maker.join()


def take_twice(folder):
    taken = []
    for _ in range(2):
        with share_of(folder, "a", lambda: ROWS, most=10) as mine:
            taken.append(mine)
    return taken


def make_all(folder, record):
    """Rows are appended to a file; what is there is not missing."""

    def missing():
        there = set(record.read_text().splitlines()) if record.exists() else set()
        return [row for row in ROWS if row not in there]

    made = []
    while missing():
        with share_of(folder, "a", missing, most=2) as mine:
            for row in mine:
                time.sleep(0.02)
                with record.open("a") as file:
                    file.write(f"{row}\n")
            made += mine
    return made


def test_several_makers_make_every_row_once_and_nobody_goes_before_all_are_there(tmp_path):
    record = tmp_path / "record"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.starmap(make_all, [(tmp_path, record)] * 4)
    assert sorted(row for own in made for row in own) == sorted(ROWS)
    assert sorted(record.read_text().splitlines()) == sorted(ROWS)
