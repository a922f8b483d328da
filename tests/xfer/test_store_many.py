"""Rows of several keys come from one pass, each written once, and rows that are there are found."""

import fcntl
import gc
import json
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from store_processes import (
    CUTS,
    NAMES,
    ROW,
    ManyMaker,
    activation,
    assert_rows,
    fill_cuts_for_ever,
    fill_cuts_slowly,
    filled_many,
    spawned,
    there,
    wait_for,
)

from xfer.errors import StoreError
from xfer.pixels import lock_path
from xfer.store import Request, Store


def entry_of(store, request):
    [entry] = [entry for entry in store.entries() if entry.key == request.name]
    return entry


def test_one_pass_makes_the_rows_of_every_key(tmp_path):
    stored, made = filled_many(Store(tmp_path, chunk_bytes=100), CUTS, NAMES)
    assert made == NAMES
    for request, pixels in zip(CUTS, stored, strict=True):
        assert pixels.shape == (40, *request.shape)
        assert_rows(pixels, request, NAMES)


def test_a_row_that_any_key_lacks_is_made_and_written_only_where_it_is_lacked(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES[:10])
    filled_many(store, CUTS[1:2], NAMES[5:20])
    stored, made = filled_many(store, CUTS[:2], NAMES[:25])
    assert made == NAMES[:5] + NAMES[10:25]
    for request, pixels in zip(CUTS, stored, strict=False):
        assert_rows(pixels, request, NAMES[:25])
        assert entry_of(store, request).rows == 25
    _, made = filled_many(store, CUTS[:2], NAMES[:25])
    assert made == []


@settings(max_examples=12, deadline=None)
@given(
    fills=st.lists(
        st.tuples(
            st.permutations(range(3)).flatmap(lambda order: st.sampled_from([order[:2], order])),
            st.lists(st.integers(0, 20), max_size=15),
        ),
        min_size=1,
        max_size=4,
    ),
    chunk=st.integers(1, 300),
)
def test_any_series_of_fills_writes_every_row_of_every_key_once(tmp_path_factory, fills, chunk):
    store = Store(tmp_path_factory.mktemp("store"), chunk_bytes=chunk)
    there = {request.name: set() for request in CUTS}
    for numbers, of in fills:
        requests, names = [CUTS[number] for number in numbers], [f"n{number}" for number in of]
        stored, made = filled_many(store, requests, names)
        lacked = [set(names) - there[request.name] for request in requests]
        assert sorted(made) == sorted(set().union(*lacked))
        for request, pixels in zip(requests, stored, strict=True):
            there[request.name] |= set(names)
            if names:
                assert_rows(pixels, request, names)
    for entry in store.entries():
        assert entry.rows == len(there[entry.key])


def test_a_row_that_cannot_be_made_is_missing_from_every_key_and_tried_again(tmp_path):
    store = Store(tmp_path)
    stored, _ = filled_many(store, CUTS, NAMES[:4], refuses=["image 2"])
    assert [pixels.present.tolist() for pixels in stored] == [[True, True, False, True]] * 3
    _, made = filled_many(store, CUTS, NAMES[:4])
    assert made == ["image 2"]


def test_nothing_asked_for_is_no_error(tmp_path):
    store = Store(tmp_path)
    assert store.fill_many([], NAMES, ManyMaker([], NAMES)) == []
    stored, made = filled_many(store, CUTS, [])
    assert [pixels.shape for pixels in stored] == [(0, *request.shape) for request in CUTS]
    assert made == []


def test_one_key_asked_for_twice_is_refused(tmp_path):
    again = Request(dict(CUTS[0].key), CUTS[0].shape, CUTS[0].dtype)
    with pytest.raises(ValueError, match="two of the requests are for one"):
        filled_many(Store(tmp_path), [CUTS[0], again], NAMES)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ((activation(CUTS[0], "a"),), "an array for each of 2 keys, got 1"),
        ((activation(CUTS[0], "a"), np.zeros(5)), r"must be float32 \(5,\), got float64"),
        ((activation(CUTS[1], "a"), activation(CUTS[0], "a")), r"must be uint8 \(4, 4, 3\)"),
    ],
)
def test_a_maker_that_breaks_its_word_leaves_no_row_anywhere(tmp_path, arrays, said):
    good = tuple(activation(request, "a") for request in CUTS[:2])
    with pytest.raises(ValueError, match=said):
        Store(tmp_path).fill_many(CUTS[:2], ["a", "b"], lambda _: iter([(0, good), (1, arrays)]))
    assert not [p for p in tmp_path.rglob("*") if ".tmp-" in p.name or p.suffix == ".raw"]
    assert not list(tmp_path.rglob("reserved"))


def test_a_maker_that_fails_leaves_the_finished_chunks_of_every_key(tmp_path):
    store = Store(tmp_path, chunk_bytes=5 * ROW)  # 5 rows of the one, 12 of the other

    def make(missing):
        yield from list(ManyMaker(CUTS[:2], NAMES)(missing))[:14]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        store.fill_many(CUTS[:2], NAMES, make)
    assert [there(store, request) for request in CUTS] == [10, 12, 0]
    stored, made = filled_many(store, CUTS[:2], NAMES)
    assert made == NAMES[10:]
    assert_rows(stored[1], CUTS[1], NAMES)
    assert [entry.rows for entry in store.entries()] == [40, 40]


# --------------------------------------------------------------------------------------------------
# Several processes


def test_eight_processes_with_overlapping_requests_make_every_row_once(tmp_path):
    log = tmp_path / "log"
    with ExitStack() as stack:
        processes = [
            stack.enter_context(spawned(fill_cuts_slowly, tmp_path / "store", log, str(n)))[0]
            for n in range(8)
        ]
        for process in processes:
            process.wait(120)
        assert [process.returncode for process in processes] == [0] * 8
    assert sorted(log.read_text().splitlines()) == sorted(NAMES)
    assert [entry.rows for entry in Store(tmp_path / "store").entries()] == [40, 40, 40]


def test_a_killed_writer_leaves_whole_chunks_of_each_key_and_nothing_else_that_counts(tmp_path):
    with spawned(fill_cuts_for_ever, tmp_path) as (process,):
        wait_for((tmp_path / "reached").exists)
        process.kill()
        process.wait()
    store = Store(tmp_path, chunk_bytes=5 * ROW)
    assert [there(store, request) for request in CUTS] == [15, 12, 0]
    assert store.find(CUTS[0], NAMES[:15]) is not None
    assert store.find(CUTS[1], NAMES[:15]) is None
    assert all(entry.seconds > 0 for entry in store.entries())
    stored, made = filled_many(store, CUTS[:2], NAMES)
    assert made == NAMES[12:]
    for request, pixels in zip(CUTS[:2], stored, strict=True):
        assert_rows(pixels, request, NAMES)
        assert entry_of(store, request).rows == 40
    assert not list(tmp_path.rglob("*.tmp-*"))
    assert not list(tmp_path.rglob("reserved"))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_who_waits_for_a_key_holds_none_that_comes_later(tmp_path, order):
    """Then two who want the same keys never wait for each other, in whatever order they ask."""
    first, *later = sorted(request.name for request in CUTS)
    requests = [CUTS[number] for number in order]
    with FileLock(str(lock_path(Store(tmp_path).root, first, "write"))):
        thread = threading.Thread(target=filled_many, args=(Store(tmp_path), requests, NAMES))
        thread.start()
        time.sleep(0.3)
        for name in later:
            with FileLock(str(lock_path(tmp_path, name, "write")), timeout=0):
                pass
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()
    assert [entry.rows for entry in Store(tmp_path).entries()] == [40, 40, 40]


def test_keys_that_lack_nothing_are_not_waited_for(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES)
    with FileLock(str(lock_path(tmp_path, CUTS[0].name, "write"))):
        _, made = filled_many(store, CUTS[:2], NAMES)  # would wait for ever
    assert made == NAMES


# --------------------------------------------------------------------------------------------------
# Room


def test_room_for_one_key_only_leaves_nothing_reserved_for_either(tmp_path):
    one = 40 * CUTS[0].row_bytes
    store = Store(tmp_path, budget_bytes=one + 500)
    make = ManyMaker(CUTS[:2], NAMES)
    with pytest.raises(StoreError, match=r"needs 0\.00 MB more.*--cache-gb"):
        store.fill_many(CUTS[:2], NAMES, make)
    assert make.made == []
    assert not list(tmp_path.rglob("reserved"))
    assert [entry.rows for entry in store.entries()] == [0, 0]
    gc.collect()
    stored, made = filled_many(store, CUTS[:1], NAMES)
    assert made == NAMES
    assert_rows(stored[0], CUTS[0], NAMES)


def test_room_for_every_key_is_reserved_while_somebody_writes(tmp_path):
    needed = sum(40 * request.row_bytes for request in CUTS[:2])
    store = Store(tmp_path, budget_bytes=needed + 2_500)
    seen = []

    def make(missing):
        seen.extend(entry.bytes for entry in store.entries())
        with pytest.raises(StoreError, match="left of a budget"):
            filled_many(store, CUTS[2:], [f"n{i}" for i in range(400)])
        yield from ManyMaker(CUTS[:2], NAMES)(missing)

    store.fill_many(CUTS[:2], NAMES, make)
    assert needed <= sum(seen) < needed + 1_000
    assert not list(tmp_path.rglob("reserved"))


# --------------------------------------------------------------------------------------------------
# What is there


def test_rows_are_found_only_when_all_are_there(tmp_path):
    store = Store(tmp_path)
    assert store.find(CUTS[0], NAMES) is None
    filled_many(store, CUTS[:1], NAMES[:10])
    assert store.find(CUTS[0], NAMES[:11]) is None
    assert store.find(CUTS[1], NAMES[:10]) is None
    backwards = NAMES[9::-1]
    found = store.find(CUTS[0], backwards)
    assert found is not None
    assert_rows(found, CUTS[0], backwards)


def test_missing_are_digests_that_some_key_lacks_each_once(tmp_path):
    store = Store(tmp_path)
    assert store.missing(CUTS[:1], ["image 3", "image 3"]) == ["image 3"]
    filled_many(store, CUTS[:1], NAMES[:10])
    filled_many(store, CUTS[1:2], NAMES[:12])
    assert store.missing(CUTS[:1], NAMES) == NAMES[10:]
    assert store.missing(CUTS[:2], NAMES[9:]) == NAMES[10:]
    assert store.missing(CUTS[:1], NAMES[:10]) == []
    gc.collect()
    assert store.clear() > 0  # nothing was kept open


def test_rows_are_found_while_others_write_to_the_key(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES[:10])
    found = []

    def make(missing):
        found.append(store.find(CUTS[0], NAMES[:10]))
        yield from ManyMaker(CUTS[:1], NAMES)(missing)

    store.fill_many(CUTS[:1], NAMES, make)
    assert_rows(found[0], CUTS[0], NAMES[:10])


def test_a_key_that_is_being_evicted_is_not_waited_for(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES)
    gc.collect()
    with lock_path(tmp_path, CUTS[0].name, "use").open("a+b") as evictor:
        fcntl.flock(evictor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert store.find(CUTS[0], NAMES) is None
    assert store.find(CUTS[0], NAMES) is not None


def test_what_was_found_is_in_use(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES)
    gc.collect()
    found = store.find(CUTS[0], NAMES)
    assert store.clear() == 0
    assert_rows(found, CUTS[0], NAMES)


# --------------------------------------------------------------------------------------------------
# What making them took


def slow(requests, names, seconds):
    make = ManyMaker(requests, names)

    def made(missing):
        for position, rows in make(missing):
            time.sleep(seconds)
            yield position, rows

    return made


def test_seconds_are_what_making_took_and_add_up(tmp_path):
    store = Store(tmp_path)
    began = time.monotonic()
    store.fill_many(CUTS[:2], NAMES[:4], slow(CUTS[:2], NAMES, 0.02))
    wall = time.monotonic() - began
    first = [entry_of(store, request).seconds for request in CUTS[:2]]
    assert all(0.08 <= seconds <= wall for seconds in first)
    store.fill_many(CUTS[:1], NAMES[:6], slow(CUTS[:1], NAMES, 0.02))
    assert entry_of(store, CUTS[0]).seconds >= first[0] + 0.04
    assert entry_of(store, CUTS[1]).seconds == first[1]


def test_a_key_is_not_charged_for_rows_that_it_had(tmp_path):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES[:3])
    before = entry_of(store, CUTS[0]).seconds
    store.fill_many(CUTS[:2], NAMES[:3], slow(CUTS[:2], NAMES, 0.02))
    assert entry_of(store, CUTS[0]).seconds == before
    assert entry_of(store, CUTS[1]).seconds >= 0.06


@pytest.mark.parametrize("seconds", [None, "long", -1, float("nan"), float("inf"), [1]])
def test_seconds_that_are_none_count_nothing_and_rows_are_believed(tmp_path, seconds):
    store = Store(tmp_path)
    filled_many(store, CUTS[:1], NAMES)
    [manifest] = (tmp_path / CUTS[0].name).glob("*.json")
    body = json.loads(manifest.read_text())
    del body["seconds"]
    manifest.write_text(json.dumps(body if seconds is None else {**body, "seconds": seconds}))
    assert entry_of(store, CUTS[0]).seconds == 0
    assert store.find(CUTS[0], NAMES) is not None
