"""Are answers to the test part read as they were written, or not at all?"""

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.errors import RunError
from search.tested import Tested, read_tested, write_tested

TWO = Tested(
    names=("winner", "A1", "winner"),  # somebody may call a known configuration that
    numbers=np.array([1, 0, 2]),
    thresholds=np.array([0.3, 0.5, 0.5]),
    probabilities=np.array(
        [[[0.2, 0.8], [0.5, 0.5]], [[1, 0], [0, 1]], [[0.1, 0.9], [0.25, 0.75]]]
    ),
    labels=np.array([1, 0]),
    images=("a1", "b2"),
    patients=("Zoë", "q"),
    classes=("healthy", "sick"),
)


def same(one: Tested, other: Tested) -> bool:
    return all(
        np.array_equal(getattr(one, f.name), getattr(other, f.name), equal_nan=f.name[0] == "t")
        for f in fields(Tested)
    )


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tested.npz"
    write_tested(path, TWO)
    read = read_tested(path)
    assert same(read, TWO)
    assert read.binary
    assert isinstance(read.names, tuple)
    assert read.probabilities.dtype == np.float64
    assert [each.name for each in tmp_path.iterdir()] == ["tested.npz"]


def test_several_classes_have_no_threshold(tmp_path: Path) -> None:
    path = tmp_path / "tested.npz"
    several = replace(
        TWO,
        names=("winner",),
        numbers=np.array([4]),
        thresholds=np.array([np.nan]),
        probabilities=np.full((1, 2, 3), 1 / 3),
        classes=("a", "b", "c"),
    )
    write_tested(path, several)
    assert not read_tested(path).binary


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("A1", "winner", "B")}, "the first of names must be 'winner'"),
        ({"names": ("winner", "A1", "A1")}, "names of experiments must be different"),
        ({"names": ()}, "numbers have shape (3,) and not (0,)"),
        ({"labels": np.array([0, 2])}, "labels must be positions in classes"),
        ({"labels": np.array([0])}, "labels have shape (1,) and not (2,)"),
        ({"thresholds": np.array([0.5, np.nan, 0.5])}, "thresholds must be numbers, or all NaN"),
        ({"classes": ("a", "a")}, "classes must be two or more, and different"),
        ({"probabilities": TWO.probabilities * 2}, "probabilities must be in [0, 1]"),
        ({"probabilities": TWO.probabilities / 2}, "probabilities of an image must sum to 1"),
        ({"probabilities": TWO.probabilities * np.nan}, "probabilities must be in [0, 1]"),
    ],
)
def test_what_does_not_fit_together_is_not_written(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match="cannot be kept") as raised:
        write_tested(tmp_path / "tested.npz", replace(TWO, **changes))
    assert said in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_says_why_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="made by an earlier version, or its test part was not open"):
        read_tested(tmp_path / "tested.npz")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*tested\.npz: No such file"):
        write_tested(tmp_path / "gone" / "tested.npz", TWO)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tested.npz"
    np.savez(path, names=np.array([{}], object), allow_pickle=True)
    with pytest.raises(RunError, match="damaged"):
        read_tested(path)


def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tested.npz"
    write_tested(path, TWO)
    raw = path.read_bytes()
    chance = random.Random(0)
    noticed = 0
    for _ in range(600):
        changed = bytearray(raw)
        changed[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
        path.write_bytes(changed[: chance.choice([len(raw), chance.randrange(len(raw))])])
        try:
            assert same(read_tested(path), TWO)
        except RunError as error:
            noticed += "is damaged" in str(error)
    assert noticed > 300
