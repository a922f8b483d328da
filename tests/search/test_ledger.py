"""The ledger counts each opening once, survives kills, and ends no search."""

import json
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from search.ledger import Ledger, Opening, Openings, default_root, digest_of, said

IMAGES = [f"image {i}" for i in range(6)]
AT = "2026-01-01T00:00:00+00:00"
ROOT = Path(__file__).parents[2]


def opened(root, run="/runs/a", run_id="1", trial=3, images=IMAGES):
    return Ledger(root).open(images, run=Path(run), run_id=run_id, trial=trial, at=AT)


def test_an_opening_is_on_record(tmp_path):
    root = tmp_path / "not" / "there"
    assert Ledger(root).look(IMAGES).count == 0
    assert not root.exists()
    assert opened(root).entries == (Opening(run="/runs/a", run_id="1", trial=3, at=AT, images=6),)
    assert Ledger(root).look(IMAGES) == opened(root)


@pytest.mark.parametrize(
    ("again", "count"),
    [
        ({}, 1),  # killed after it was written down
        ({"trial": 4}, 2),  # another winner
        ({"run": "/runs/b"}, 2),  # another run
        ({"run_id": "2"}, 2),  # another run of the same name
        ({"images": IMAGES[::-1]}, 1),  # the order says nothing
    ],
)
def test_the_same_winner_of_the_same_run_counts_once(tmp_path, again, count):
    opened(tmp_path)
    assert opened(tmp_path, **again).count == count


def test_the_digest_says_which_images_there_are_and_how_often():
    assert digest_of(IMAGES) == digest_of(reversed(IMAGES))
    assert len({digest_of(each) for each in (IMAGES, IMAGES[1:], [*IMAGES, IMAGES[0]], [])}) == 4


def test_images_that_another_test_part_had_are_counted(tmp_path):
    assert opened(tmp_path).shared == 0
    other = [*IMAGES[:4], "image 10"]
    assert Ledger(tmp_path).look(other) == Openings(entries=(), images=5, shared=4, problem=None)
    both = opened(tmp_path, images=other)
    assert (both.count, both.shared) == (1, 4)
    assert Ledger(tmp_path).look(IMAGES).shared == 4


def test_a_test_part_that_was_not_opened_in_the_end_shares_nothing(tmp_path):
    opened(tmp_path)
    (tmp_path / f"{digest_of(IMAGES)}.jsonl").unlink()  # killed between its two files
    assert Ledger(tmp_path).look(IMAGES[:2]).shared == 0


def test_a_line_torn_by_a_kill_is_ignored_and_spoils_no_other(tmp_path):
    opened(tmp_path)
    path = tmp_path / f"{digest_of(IMAGES)}.jsonl"
    whole = path.read_bytes()
    for length in (1, 2, 30, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole + whole[:length])
        assert Ledger(tmp_path).look(IMAGES).count == 1 + (length == len(whole) - 1)
        after = opened(tmp_path, trial=9)
        assert [entry.trial for entry in after.entries if entry.trial == 9] == [9], length
        assert after.entries[0].trial == 3


def test_processes_at_once_lose_no_line(tmp_path):
    code = (
        "import sys; from pathlib import Path; from search.ledger import Ledger\n"
        "for trial in range(8):\n"
        "    Ledger(Path(sys.argv[1])).open(['a', 'b'], run=Path(sys.argv[2]), run_id='1',"
        " trial=trial, at='')\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, run], cwd=ROOT)
        for run in ("/runs/a", "/runs/b")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    entries = Ledger(tmp_path).look(["a", "b"]).entries
    assert sorted((entry.run, entry.trial) for entry in entries) == [
        (run, trial) for run in ("/runs/a", "/runs/b") for trial in range(8)
    ]


def test_whoever_looks_and_writes_holds_the_lock(tmp_path):
    path = tmp_path / f"{digest_of(IMAGES)}.jsonl"
    with FileLock(str(path.with_suffix(".lock"))):
        other = threading.Thread(target=opened, args=[tmp_path])
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert not path.exists()
    other.join(30)
    assert Ledger(tmp_path).look(IMAGES).count == 1


def test_a_place_that_cannot_be_written_is_told_and_the_opening_counts(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    result = opened(place / "ledger")
    assert result.count == 1
    assert result.problem == (
        f"the ledger at {place / 'ledger'} could not be written: Not a directory"
    )
    assert said(result).endswith(f"There may be more: {result.problem}.")


def test_a_full_disk_is_told_and_leaves_no_half_line(tmp_path):
    opened(tmp_path)
    path = tmp_path / f"{digest_of(IMAGES)}.jsonl"
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        result = opened(tmp_path, trial=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert result.problem is not None
    assert [entry.trial for entry in result.entries] == [3, 4]
    assert path.read_bytes() == before


def test_a_ledger_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / f"{digest_of(IMAGES)}.jsonl").mkdir()
    for result in (Ledger(tmp_path).look(IMAGES), opened(tmp_path)):
        assert result.problem is not None
        assert f"the ledger at {tmp_path} could not be" in result.problem


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"XFER_LEDGER": "/l", "XFER_CACHE": "/big/cache"}, "/l"),
        ({"XFER_CACHE": "/big/cache"}, "/big/cache-ledger"),
        ({"XFER_CACHE": "/big/cache/"}, "/big/cache-ledger"),
        ({}, "/home/somebody/.local/share/xfer/ledger"),
    ],
)
def test_it_is_beside_the_cache_and_never_in_it(monkeypatch, variables, place):
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("XFER_LEDGER", "XFER_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_root() == Path(place) == Ledger().root


def test_the_files_hold_no_name_and_no_digest_of_an_image(tmp_path):
    opened(tmp_path)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"image 1" not in written
    lines = (tmp_path / f"{digest_of(IMAGES)}.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == [6]


def entries(*runs):
    return tuple(
        Opening(run=f"/runs/{run}", run_id="1", trial=i, at=AT, images=624)
        for i, run in enumerate(runs)
    )


@pytest.mark.parametrize(
    ("runs", "shared", "text"),
    [
        ("", 0, "The test images were never opened on this machine."),
        ("a", 0, "The test images were opened once on this machine (run a)."),
        ("aba", 0, "The test images were opened 3 times on this machine (runs a, b)."),
        (
            "abcdefg",
            0,
            "The test images were opened 7 times on this machine (runs c, d, e, f, g and 2 "
            "before).",
        ),
        (
            "ab",
            312,
            "The test images were opened twice on this machine (runs a, b). 312 of the 624 were "
            "opened as part of another test set too.",
        ),
    ],
)
def test_what_is_said(runs, shared, text):
    openings = Openings(entries=entries(*runs), images=624, shared=shared, problem=None)
    assert said(openings) == text
