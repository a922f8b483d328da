"""Rows are made once, believed only when whole, shared, and thrown away only when nobody uses them.

Processes are real ones: `spawned` starts them with functions of `store_processes`.
"""

import gc
import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_processes import (
    KEY,
    NAMES,
    ROW,
    SHAPE,
    Maker,
    expected,
    fill_for_ever,
    fill_slowly,
    fill_with_much,
    filled,
    hold,
    row,
    spawned,
    wait_for,
    write_under_a_limit,
)

from xfer.errors import StoreError
from xfer.pixels import Pixels
from xfer.store import Store, default_root


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    pixels, _ = filled(Store(tmp_path, chunk_bytes=5 * ROW), NAMES)
    assert pixels.shape == (40, *SHAPE)
    assert len(pixels) == 40
    assert pixels.nbytes == 40 * ROW
    assert len(pixels.chunks) == 8
    for indices in ([3, 39, 3, 0], [], list(range(40))):
        got = pixels[np.array(indices, dtype=np.int64)]
        assert got.flags.c_contiguous
        assert got.shape == (len(indices), *SHAPE)
        for position, index in enumerate(indices):
            np.testing.assert_array_equal(got[position], row(NAMES[index]))


def test_a_second_fill_makes_nothing(tmp_path):
    filled(Store(tmp_path), NAMES)
    pixels, made = filled(Store(tmp_path), NAMES)
    assert made == []
    np.testing.assert_array_equal(pixels[np.arange(40)], expected(NAMES))


def test_new_rows_are_added_to_old_ones(tmp_path):
    store = Store(tmp_path)
    filled(store, NAMES[:10])
    pixels, made = filled(store, NAMES[5:20])
    assert made == NAMES[10:20]
    np.testing.assert_array_equal(pixels[np.arange(15)], expected(NAMES[5:20]))


def test_equal_digests_share_a_row(tmp_path):
    names = ["a", "b", "a", "a"]
    pixels, made = filled(Store(tmp_path), names)
    assert made == ["a", "b"]
    np.testing.assert_array_equal(pixels[np.arange(4)], expected(names))


@pytest.mark.parametrize(
    ("key", "shape", "dtype"),
    [({**KEY, "size": 5}, SHAPE, "uint8"), (KEY, (4, 3, 4), "uint8"), (KEY, SHAPE, "int8")],
)
def test_another_key_shape_or_type_shares_nothing(tmp_path, key, shape, dtype):
    store = Store(tmp_path)
    first, _ = filled(store, NAMES)
    made = []

    def make(missing):
        for position in missing:
            made.append(position)
            yield position, np.zeros(shape, dtype)

    second = store.fill(key, NAMES, make, shape=shape, dtype=dtype)
    assert len(made) == 40
    assert first.key != second.key


def test_the_order_of_a_keys_parts_does_not_matter(tmp_path):
    store = Store(tmp_path)
    first, _ = filled(store, NAMES, key={"a": 1, "b": 2})
    second, made = filled(store, NAMES, key={"b": 2, "a": 1})
    assert made == []
    assert first.key == second.key


def test_rows_that_cannot_be_made_are_not_there_and_tried_again(tmp_path):
    store = Store(tmp_path)
    pixels, _ = filled(store, NAMES[:4], refuses=["image 2"])
    assert pixels.present.tolist() == [True, True, False, True]
    with pytest.raises(IndexError, match="row 2 could not be made"):
        pixels[np.array([0, 2])]
    kept = pixels.take(np.flatnonzero(pixels.present))
    np.testing.assert_array_equal(kept[np.arange(3)], expected(["image 0", "image 1", "image 3"]))
    _, made = filled(store, NAMES[:4])
    assert made == ["image 2"]


def test_no_rows_at_all_are_no_error(tmp_path):
    pixels, _ = filled(Store(tmp_path), [])
    assert pixels.shape == (0, *SHAPE)
    none, _ = filled(Store(tmp_path), ["a"], refuses=["a"])
    assert none.present.tolist() == [False]


@pytest.mark.parametrize("indices", [[40], [-41], [[0]], [0.5], [True]])
def test_what_is_no_index_is_an_index_error(tmp_path, indices):
    pixels, _ = filled(Store(tmp_path), NAMES)
    with pytest.raises(IndexError):
        pixels[np.array(indices)]


@pytest.mark.parametrize(
    ("yields", "said"),
    [
        ([(0, np.zeros((4, 4), np.uint8))], r"a row must be uint8 \(4, 4, 3\)"),
        ([(0, np.zeros(SHAPE, np.float32))], "got float32"),
        ([(7, np.zeros(SHAPE, np.uint8))], "row 7 was not asked for"),
        ([(0, np.zeros(SHAPE, np.uint8))] * 2, "row 0 was not asked for, or came twice"),
    ],
)
def test_a_maker_that_breaks_its_word_is_told(tmp_path, yields, said):
    with pytest.raises(ValueError, match=said):
        Store(tmp_path).fill(KEY, ["a"], lambda _: iter(yields), shape=SHAPE)
    assert not list(tmp_path.rglob("*.raw"))
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_pickled_pixels_are_small_and_read_the_same_rows(tmp_path):
    names = [f"n{i}" for i in range(2_000)]
    pixels, _ = filled(Store(tmp_path), names)
    data = pickle.dumps(pixels)
    assert len(data) < 20_000 < pixels.nbytes
    again = pickle.loads(data)
    assert isinstance(again, Pixels)
    picked = np.array([1, 1_999])
    np.testing.assert_array_equal(again[picked], pixels[picked])


@settings(max_examples=25, deadline=None)
@given(
    fills=st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=4),
    chunk=st.integers(1, 8),
)
def test_any_series_of_fills_gives_every_caller_its_rows(tmp_path_factory, fills, chunk):
    store = Store(tmp_path_factory.mktemp("store"), chunk_bytes=chunk * ROW)
    seen = set()
    for numbers in fills:
        names = [f"n{number}" for number in numbers]
        pixels, made = filled(store, names)
        assert len(made) == len(set(made)) == len(set(names) - seen)
        seen |= set(names)
        if names:
            np.testing.assert_array_equal(pixels[np.arange(len(names))], expected(names))


# --------------------------------------------------------------------------------------------------
# Several processes


def test_eight_processes_at_first_use_make_every_row_once(tmp_path):
    log = tmp_path / "log"
    with spawned(fill_slowly, tmp_path / "store", log, count=8) as processes:
        for process in processes:
            process.wait(120)
        assert [process.returncode for process in processes] == [0] * 8
    assert sorted(log.read_text().splitlines()) == sorted(NAMES)


def test_a_killed_writer_leaves_whole_chunks_and_nothing_else_that_counts(tmp_path):
    with spawned(fill_for_ever, tmp_path) as (process,):
        wait_for((tmp_path / "reached").exists)
        process.kill()
        process.wait()
    store = Store(tmp_path, chunk_bytes=5 * ROW)
    pixels, made = filled(store, NAMES)
    assert made == NAMES[15:]
    np.testing.assert_array_equal(pixels[np.arange(40)], expected(NAMES))
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_what_a_killed_writer_was_writing_is_swept(tmp_path):
    pixels, _ = filled(Store(tmp_path), NAMES[:3])
    folder = tmp_path / pixels.key
    (folder / ".tmp-1-dead").write_bytes(b"half")
    (folder / "orphan.raw").write_bytes(b"no manifest yet")
    filled(Store(tmp_path), NAMES[:3])
    assert (folder / "orphan.raw").exists()  # nothing to write, nothing swept
    filled(Store(tmp_path), NAMES[:4])
    assert {path.suffix for path in folder.iterdir()} == {"", ".raw", ".json"}
    assert not (folder / "orphan.raw").exists()


# --------------------------------------------------------------------------------------------------
# Damage


def damaged(folder, how):
    raw = sorted(folder.glob("*.raw"))[0]
    manifest = raw.with_suffix(".json")
    if how == "data cut":
        raw.write_bytes(raw.read_bytes()[:-1])
    elif how == "data longer":
        raw.write_bytes(raw.read_bytes() + b"x")
    elif how == "data gone":
        raw.unlink()
    elif how == "manifest cut":
        manifest.write_text(manifest.read_text()[:-5])
    elif how == "manifest empty":
        manifest.write_text("")
    elif how == "manifest of something else":
        manifest.write_text("[1, 2]")
    elif how == "rows lost":
        body = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**body, "rows": body["rows"][:-1]}))


@pytest.mark.parametrize(
    "how",
    ["data cut", "data longer", "data gone", "manifest cut", "manifest empty",
     "manifest of something else", "rows lost"],
)  # fmt: skip
def test_a_damaged_chunk_is_made_again(tmp_path, how):
    store = Store(tmp_path, chunk_bytes=10 * ROW)
    pixels, _ = filled(store, NAMES)
    damaged(tmp_path / pixels.key, how)
    pixels, made = filled(store, NAMES)
    assert len(made) == 10
    np.testing.assert_array_equal(pixels[np.arange(40)], expected(NAMES))


def test_verify_finds_a_flipped_bit_and_the_rows_are_made_again(tmp_path):
    store = Store(tmp_path, chunk_bytes=10 * ROW)
    pixels, _ = filled(store, NAMES)
    assert store.verify() == []
    raw = sorted((tmp_path / pixels.key).glob("*.raw"))[2]
    data = bytearray(raw.read_bytes())
    data[7] ^= 1
    raw.write_bytes(data)
    assert store.verify() == [str(raw)]
    assert store.verify() == []
    pixels, made = filled(store, NAMES)
    assert len(made) == 10
    np.testing.assert_array_equal(pixels[np.arange(40)], expected(NAMES))


@pytest.mark.parametrize(("how", "said"), [("data gone", "cannot be read"), ("data cut", "bytes")])
def test_damage_while_in_use_is_a_store_error(tmp_path, how, said):
    pixels, _ = filled(Store(tmp_path), NAMES)
    damaged(tmp_path / pixels.key, how)
    with pytest.raises(StoreError, match=said):
        pixels[np.array([0])]


# --------------------------------------------------------------------------------------------------
# Room


def room_for(fills: int) -> int:
    """Bytes that hold so many fills of 40 rows, with what lies around them."""
    return fills * (40 * ROW + 1_000)


def test_what_was_used_least_recently_goes_first(tmp_path):
    store = Store(tmp_path, budget_bytes=room_for(2))
    for number in (1, 2):
        pixels, _ = filled(store, NAMES, key={"n": number})
        os.utime(tmp_path / pixels.key / "key", (number, number))
        del pixels
    first, made = filled(store, NAMES, key={"n": 1})  # used again: now the younger one
    assert made == []
    del first
    gc.collect()
    filled(store, NAMES, key={"n": 3})
    assert [entry.says for entry in store.entries()] == [{"n": 1}, {"n": 3}]


def test_what_is_in_use_stays(tmp_path):
    store = Store(tmp_path, budget_bytes=room_for(2))
    mine, _ = filled(store, NAMES, key={"n": 1})
    filled(store, NAMES, key={"n": 2})
    gc.collect()
    filled(store, NAMES, key={"n": 3})
    assert {entry.says["n"] for entry in store.entries()} == {1, 3}
    np.testing.assert_array_equal(mine[np.arange(40)], expected(NAMES))


def test_what_another_process_uses_stays_until_it_ends(tmp_path):
    store = Store(tmp_path, budget_bytes=room_for(1))
    with spawned(hold, tmp_path):
        wait_for((tmp_path / "held").exists)
        with pytest.raises(StoreError, match="are in use"):
            filled(store, NAMES, key={"n": 2})
        store.clear()
        assert {"n": 1} in [entry.says for entry in store.entries()]
    filled(store, NAMES, key={"n": 2})
    assert [entry.says for entry in store.entries()] == [{"n": 2}]


def test_more_than_the_budget_is_refused_before_anything_is_made(tmp_path):
    store = Store(tmp_path, budget_bytes=1_000)
    make = Maker(NAMES)
    with pytest.raises(StoreError) as caught:
        store.fill(KEY, NAMES, make, shape=SHAPE)
    message = str(caught.value)
    assert make.made == []
    for part in (str(tmp_path), "--cache-gb", "XFER_CACHE=/path", "of a budget of"):
        assert part in message


def test_a_disk_with_too_little_left_is_refused_before_anything_is_made(tmp_path):
    store = Store(tmp_path, free_bytes=lambda _: 40 * ROW - 1)
    with pytest.raises(StoreError, match=r"has 0\.00 MB left"):
        filled(store, NAMES)


def test_an_old_key_makes_room_when_the_disk_is_nearly_full(tmp_path):
    free = 45 * ROW + 20_000

    def left(root):
        return free - sum(p.stat().st_size for p in root.rglob("*") if p.is_file())

    store = Store(tmp_path, free_bytes=left)
    filled(store, [f"old {i}" for i in range(400)][:40], key={"n": 1})
    filled(Store(tmp_path), [f"more {i}" for i in range(400)], key={"n": 2})
    gc.collect()
    _, made = filled(store, NAMES, key={"n": 3})
    assert len(made) == 40
    assert 3 in {entry.says["n"] for entry in store.entries()}


def test_a_disk_that_is_full_in_the_middle_is_told_and_leaves_no_rest(tmp_path):
    root, result = tmp_path / "store", tmp_path / "result"
    with spawned(write_under_a_limit, root, result) as (process,):
        process.wait(60)
    message = result.read_text()
    assert f"the store at {root} is full" in message
    assert "0.05 MB were to be added" in message
    assert "XFER_CACHE=/path" in message
    assert not [p for p in root.rglob("*") if ".tmp-" in p.name or p.suffix == ".raw"]
    pixels, made = filled(Store(root), NAMES)
    assert len(made) == 40
    assert pixels.present.all()


def test_room_is_reserved_while_somebody_writes(tmp_path):
    store = Store(tmp_path, budget_bytes=room_for(1))
    others = []

    def make(missing):
        with pytest.raises(StoreError, match="left of a budget"):
            filled(store, NAMES, key={"n": 2})
        others.append(1)
        yield from Maker(NAMES)(missing)

    store.fill({"n": 1}, NAMES, make, shape=SHAPE)
    assert others == [1]


def test_clear_removes_what_nobody_uses(tmp_path):
    store = Store(tmp_path)
    mine, _ = filled(store, NAMES, key={"n": 1})
    filled(store, NAMES, key={"n": 2})
    gc.collect()
    assert store.clear() > 40 * ROW
    assert [entry.says for entry in store.entries()] == [{"n": 1}]
    assert [entry.rows for entry in store.entries()] == [40]
    np.testing.assert_array_equal(mine[np.arange(40)], expected(NAMES))


def test_a_half_evicted_key_is_cleared_away(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "gone-1234").mkdir()
    (tmp_path / "gone-1234" / "x.raw").write_bytes(b"x")
    filled(store, NAMES)
    assert not (tmp_path / "gone-1234").exists()


# --------------------------------------------------------------------------------------------------
# Where


def test_the_store_is_where_xfer_cache_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "here"))
    assert default_root() == tmp_path / "here"
    monkeypatch.delenv("XFER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / ".cache/xfer"


def test_a_folder_that_cannot_be_one_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be written to.*XFER_CACHE=/path"):
        Store(tmp_path / "file" / "store")


def test_filling_takes_no_memory_for_the_rows(tmp_path):
    result = tmp_path / "result"
    with spawned(fill_with_much, tmp_path, result) as (process,):
        process.wait(120)
    assert int(result.read_text()) < 123e6 / 4
