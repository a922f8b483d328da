"""What saves least per byte goes first, nothing that is in use goes, and room is given whole."""

import gc
import json
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_processes import NAMES, ROW, expected, filled

from xfer.errors import StoreError
from xfer.room import Entry, Room
from xfer.store import Store

DAY = 86_400
FILL = 40 * ROW + 1_200
"""Bytes that hold a fill of 40 rows, with what lies around them."""


def keep(store, number, *, seconds, days, names=NAMES):
    """A key that took so many seconds to make and was last used so many days ago."""
    pixels, _ = filled(store, names, key={"n": number})
    folder = store.root / pixels.key
    for manifest in folder.glob("*.json"):
        body = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**body, "seconds": seconds}))
    then = time.time() - days * DAY
    os.utime(folder / "key", (then, then))
    del pixels
    gc.collect()


def numbers(store):
    return {entry.says["n"] for entry in store.entries()}


def test_what_saves_least_goes_first_even_if_it_was_used_last(tmp_path):
    store = Store(tmp_path, budget_bytes=2 * FILL)
    keep(store, 1, seconds=60, days=1)
    keep(store, 2, seconds=1, days=0)
    filled(store, NAMES, key={"n": 3})
    assert numbers(store) == {1, 3}


def test_what_saved_much_long_ago_goes_before_what_saved_less_today(tmp_path):
    store = Store(tmp_path, budget_bytes=2 * FILL)
    keep(store, 1, seconds=10, days=99)
    keep(store, 2, seconds=1, days=0)
    filled(store, NAMES, key={"n": 3})
    assert numbers(store) == {2, 3}


def test_it_is_seconds_per_byte_that_count(tmp_path):
    store = Store(tmp_path, budget_bytes=3 * FILL)
    keep(store, 1, seconds=10, days=0, names=[f"n{i}" for i in range(80)])
    keep(store, 2, seconds=8, days=0)
    filled(store, [f"m{i}" for i in range(60)], key={"n": 3})
    assert numbers(store) == {2, 3}


def test_of_what_saves_nothing_the_least_recently_used_goes_first(tmp_path):
    store = Store(tmp_path, budget_bytes=3 * FILL)
    for number, days in [(1, 2), (2, 3), (3, 1)]:
        keep(store, number, seconds=0, days=days)
    filled(store, NAMES, key={"n": 4})
    assert numbers(store) == {1, 3, 4}


def test_what_is_in_use_stays_whatever_it_saves(tmp_path):
    store = Store(tmp_path, budget_bytes=2 * FILL)
    keep(store, 1, seconds=0, days=9)
    mine, made = filled(store, NAMES, key={"n": 1})
    assert made == []
    keep(store, 2, seconds=1_000, days=0)
    filled(store, NAMES, key={"n": 3})
    assert numbers(store) == {1, 3}
    np.testing.assert_array_equal(mine[np.arange(40)], expected(NAMES))


@pytest.mark.parametrize("limit", ["budget", "disk"])
def test_what_does_not_fit_at_all_evicts_nothing(tmp_path, limit):
    def free(root):
        return 2 * FILL - sum(p.stat().st_size for p in root.rglob("*.raw"))

    store = (
        Store(tmp_path, budget_bytes=2 * FILL)
        if limit == "budget"
        else Store(tmp_path, free_bytes=free)
    )
    keep(store, 1, seconds=0, days=9)
    with pytest.raises(StoreError, match=r"needs 0\.10 MB more and has 0\.01 MB left"):
        filled(store, [f"n{i}" for i in range(2_000)], key={"n": 2})
    assert numbers(store) == {1, 2}
    assert [entry.rows for entry in store.entries()] == [40, 0]


def test_room_that_cannot_be_reserved_for_one_key_is_reserved_for_none(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / ("a" * 32)).mkdir()
    room = Room(root=tmp_path, budget_bytes=None, free_bytes=lambda _: 1_000)
    with pytest.raises(FileNotFoundError):
        room.reserve({"a" * 32: 10, "b" * 32: 10})
    assert list((tmp_path / ("a" * 32)).iterdir()) == []


def entry(*, seconds=1.0, size=1, used=0.0):
    return Entry(key="k", says={}, rows=1, bytes=size, used=used, seconds=seconds)


positive = st.floats(0.1, 1e6)


@given(seconds=positive, more=positive, size=st.integers(0, 10**12), now=positive, days=positive)
def test_more_seconds_fewer_bytes_and_a_later_use_are_worth_more(seconds, more, size, now, days):
    plain = entry(seconds=seconds, size=size).worth(now * DAY)
    assert entry(seconds=seconds + more, size=size).worth(now * DAY) > plain
    assert entry(seconds=seconds, size=2 * size + 2).worth(now * DAY) < plain
    assert entry(seconds=seconds, size=size).worth((now + days) * DAY) < plain


def test_a_clock_that_was_set_back_makes_nothing_worth_more():
    assert entry(used=100.0).worth(0.0) == entry(used=0.0).worth(0.0)
