"""The command shows what is kept, removes what differs, and clears what nobody has open."""

import gc
import os
import re
import time

import numpy as np
import pytest
from store_processes import CUTS, NAMES, SHAPE, activation, filled_many, there

from xfer.room import in_bytes
from xfer.store import Request, Store
from xfer.store_command import main

IMAGES = Request(
    {"what": "decoded image", "size": 4, "fit": "pad", "channels": 3, "decoder": 1}, SHAPE
)


@pytest.fixture
def store(tmp_path):
    """Images and features of 40 of them, in several chunks, that nobody has open."""
    store = Store(tmp_path / "store", chunk_bytes=500)
    filled_many(store, [IMAGES, CUTS[1]], NAMES)
    gc.collect()
    return store


def said(capsys, store, *flags):
    """Exit code and what was printed."""
    code = main([*flags, "--cache", str(store.root)])
    return code, capsys.readouterr().out


def flip(path):
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)


def test_stats_tell_what_there_is(store, capsys):
    then = time.mktime((2024, 2, 29, 13, 5, 0, 0, 0, -1))
    os.utime(store.root / IMAGES.name / "key", (then, then))
    code, out = said(capsys, store, "--stats")
    assert code == 0
    head, features, images, total = out.splitlines()[-4:]
    assert head.split() == ["what", "rows", "size", "took", "last", "used"]
    assert features.startswith("features of resnet18 at cut 2 ")
    entry = store.entries()[0]
    assert re.split(" {2,}", images) == [
        "decoded images: 4 x 4, 3 channels, pad, bilinear",
        "40",
        in_bytes(entry.bytes),
        f"{entry.seconds:.1f} s",
        "2024-02-29 13:05",
    ]
    size = in_bytes(sum(entry.bytes for entry in store.entries()))
    assert total.split() == ["total", "80", *size.split()]
    assert str(store.root) in out


def test_stats_of_an_empty_store_are_no_error(tmp_path, capsys):
    code, out = said(capsys, Store(tmp_path), "--stats")
    assert code == 0
    assert out.splitlines()[-1].split()[:2] == ["total", "0"]


def test_stats_tell_of_a_key_that_was_damaged(store, capsys):
    (store.root / IMAGES.name / "key").write_text("{")
    code, out = said(capsys, store, "--stats")
    assert code == 0
    assert "\nunknown " in out


def test_what_is_whole_is_verified(store, capsys):
    code, out = said(capsys, store, "--verify")
    assert code == 0
    assert re.fullmatch(r"all 0\.0\d MB are as they were written\n", out)
    assert [entry.rows for entry in store.entries()] == [40, 40]


@pytest.mark.parametrize("how", ["bit", "cut", "gone", "manifest"])
def test_a_damaged_chunk_is_removed_and_told_and_made_again(store, capsys, how):
    raw = sorted((store.root / CUTS[1].name).glob("*.raw"))[0]
    if how == "bit":
        flip(raw)
    elif how == "cut":
        raw.write_bytes(raw.read_bytes()[:-1])
    elif how == "gone":
        raw.unlink()
    else:
        raw.with_suffix(".json").write_text("{")
    code, out = said(capsys, store, "--verify")
    assert code == 1
    assert out.splitlines()[0] == f"differed, removed: {raw}"
    assert out.splitlines()[1].startswith("1 file differed and was removed; 0.0")
    assert not raw.exists()
    assert not raw.with_suffix(".json").exists()
    assert said(capsys, store, "--verify")[0] == 0
    lost = 40 - there(store, CUTS[1])
    assert lost > 0
    stored, made = filled_many(store, [IMAGES, CUTS[1]], NAMES)
    assert len(made) == lost
    wanted = np.stack([activation(CUTS[1], name) for name in NAMES])
    np.testing.assert_array_equal(stored[1][np.arange(40)], wanted)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"key":{"what":"x"},"shape":[4,4,3],"dtype":"uint8"}']
)
def test_a_key_that_does_not_say_what_it_is_named_after_is_removed_whole(store, capsys, text):
    key = store.root / IMAGES.name / "key"
    key.write_text(text)
    code, out = said(capsys, store, "--verify")
    assert code == 1
    assert f"differed, removed: {key}\n" in out
    assert [entry.key for entry in store.entries()] == [CUTS[1].name]
    assert there(store, CUTS[1]) == 40
    assert said(capsys, store, "--verify")[0] == 0


def test_what_a_killed_writer_left_is_swept_and_no_damage(store, capsys):
    folder = store.root / IMAGES.name
    left = [folder / ".tmp-1-dead", folder / "orphan.raw", folder / "reserved"]
    for path in left:
        path.write_text("7")
    assert said(capsys, store, "--verify")[0] == 0
    assert not [path for path in left if path.exists()]
    assert there(store, IMAGES) == 40


def test_clear_removes_what_nobody_has_open_and_tells_what_stays(store, capsys):
    held = store.find(IMAGES, NAMES)
    sizes = {entry.key: in_bytes(entry.bytes) for entry in store.entries()}
    code, out = said(capsys, store, "--clear")
    assert code == 0
    assert out.splitlines() == [
        f"removed {sizes[CUTS[1].name]}",
        "stayed, it is in use: decoded images: 4 x 4, 3 channels, pad, bilinear, 40 rows, "
        f"{sizes[IMAGES.name]}",
    ]
    assert held is not None
    assert held.shape == (40, *SHAPE)
    del held
    gc.collect()
    _, out = said(capsys, store, "--clear")
    assert "stayed" not in out
    assert store.entries() == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "one of the arguments --stats --verify --clear is required"),
        (["--stats", "--clear"], "argument --clear: not allowed with argument --stats"),
        (["--stats", "--cach", "x"], "unrecognized arguments: --cach x"),
    ],
)
def test_exactly_one_thing_has_to_be_asked_for(capsys, flags, told):
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing", "photos"])
def test_a_folder_that_is_no_store_is_left_alone(tmp_path, capsys, name):
    precious = tmp_path / "photos" / ("f" * 32)
    precious.mkdir(parents=True)
    with pytest.raises(SystemExit) as caught:
        main(["--clear", "--cache", str(tmp_path / name)])
    assert caught.value.code == 2
    assert f"{tmp_path / name} is no store" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", precious.name]


def test_a_machine_on_which_nothing_was_kept_yet_is_no_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "none"))
    assert main(["--stats"]) == 0
    assert capsys.readouterr().out == f"nothing is kept at {tmp_path / 'none'}\n"
    assert not (tmp_path / "none").exists()


def test_a_store_that_cannot_be_locked_is_told(store, capsys):
    (store.root / "locks" / f"{IMAGES.name}.use").unlink()
    (store.root / "locks" / f"{IMAGES.name}.use").mkdir()
    assert main(["--verify", "--cache", str(store.root)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"xfer.features: the store at {store.root} cannot be locked: ")
