"""Images and weights of one machine, brought to another one's store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xfer.data.dataset import Dataset, load_dataset
from xfer.data.elsewhere import brought, keys_of
from xfer.errors import StoreError, WeightsError
from xfer.models.carried import Carried, carry, to_carry
from xfer.recipe import Images
from xfer.store import Store


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """What the driver has, its test part sealed."""
    root = tmp_path_factory.mktemp("driver")
    images = Images("builtin:digits", positive="8", size=16)
    data, _ = load_dataset(images, store=Store(root), interpolations=("bilinear", "bicubic"))
    return data.without("test")


class Reading:
    """Reads over there, and counts."""

    def __init__(self, data: Dataset) -> None:
        self.data, self.rows = data, 0

    def __call__(self, interpolation: str, positions: np.ndarray) -> np.ndarray:
        self.rows += len(positions)
        return self.data.decoded[interpolation][positions]


def test_pixels_are_the_same_and_lie_in_this_machines_store(there: Dataset, tmp_path: Path) -> None:
    read = Reading(there)
    here = brought(there, keys_of(there), store=Store(tmp_path), read=read)
    for part in ("train", "val"):
        for name in ("bilinear", "bicubic"):
            rows = there.splits[part]
            assert np.array_equal(here.decoded[name][rows], there.decoded[name][rows])
            assert here.decoded[name].root == tmp_path
    assert here.digest == there.digest
    assert here.pixels.shape == there.pixels.shape


def test_only_what_is_missing_is_asked_for(there: Dataset, tmp_path: Path) -> None:
    first, second = Reading(there), Reading(there)
    for read in (first, second):
        brought(there, keys_of(there), store=Store(tmp_path), read=read)
    unsealed = len({digest for digest in there.image_digests if digest})
    assert first.rows == 2 * unsealed  # one for each interpolation
    assert second.rows == 0


def test_test_images_do_not_travel(there: Dataset, tmp_path: Path) -> None:
    here = brought(there, keys_of(there), store=Store(tmp_path), read=Reading(there))
    sealed = np.flatnonzero([not digest for digest in there.image_digests])
    assert len(sealed)
    assert not here.pixels.present[sealed].any()
    with pytest.raises(IndexError):
        here.pixels[sealed[:1]]


def test_rows_decoded_here_for_another_run_are_used(there: Dataset, tmp_path: Path) -> None:
    load_dataset(there.images, store=Store(tmp_path))
    read = Reading(there)
    brought(there, keys_of(there), store=Store(tmp_path), read=read)
    assert read.rows == len({d for d in there.image_digests if d})  # of bicubic ones alone


def test_a_store_that_was_cleared_over_there_is_told(there: Dataset, tmp_path: Path) -> None:
    pixels = replace(there.pixels, root=tmp_path)
    with pytest.raises(StoreError, match="is damaged or gone; start again"):
        keys_of(replace(there, decoded={"bilinear": pixels}))


# --------------------------------------------------------------------------------------------------
# Weights


NAME = "squeezenet1_1"


@pytest.fixture
def other_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Carried, Callable[[str, int, int], bytes], Path]:
    """Weights of another machine, what reads them there, and where they belong here."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "there"))
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    from xfer.models.weights import weights_file

    file = weights_file(NAME).path
    file.write_bytes(np.random.default_rng(0).bytes(100_000))
    known = to_carry(NAME)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "here"))

    def read(path: str, start: int, count: int) -> bytes:
        return Path(path).read_bytes()[start : start + count]

    return known, read, weights_file(NAME).path


def test_weights_arrive_whole_and_once(other_machine, monkeypatch) -> None:
    known, read, place = other_machine
    monkeypatch.setattr("xfer.models.carried.PIECE_BYTES", 30_000)
    carry(known, read)
    assert place.read_bytes() == Path(known.path).read_bytes()
    assert [path.name for path in place.parent.iterdir() if path.suffix != ".lock"] == [place.name]
    carry(known, lambda *asked: pytest.fail("they are there"))


def test_weights_that_were_damaged_on_the_way_are_not_kept(other_machine) -> None:
    known, read, place = other_machine
    with pytest.raises(WeightsError, match="is not what was there when the search began"):
        carry(known, lambda path, start, count: b"x" * count)
    assert not place.exists()
    carry(known, read)


def test_other_weights_of_that_name_are_told_and_left(other_machine) -> None:
    known, read, place = other_machine
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody's own")
    with pytest.raises(WeightsError, match="holds other weights of squeezenet1_1"):
        carry(known, read)
    assert place.read_bytes() == b"somebody's own"
