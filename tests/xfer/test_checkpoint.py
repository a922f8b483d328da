from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny_data import OBJECTIVE, tiny_data, tiny_recipe

from xfer.checkpoint import frozen_tensors, path_of, read_best, restore_best
from xfer.errors import ModelFileError, StoreError
from xfer.models.assembly import assemble
from xfer.recipe import Pretrained, Recipe
from xfer.tensorfile import prepare_folder, read_file, write_file
from xfer.train import fit

ROOT = Path(__file__).parents[2]


def run(folder, *, recipe=None, epochs=None):
    results = fit(
        recipe or tiny_recipe(), tiny_data(), OBJECTIVE, seed=0, checkpoint=folder, device="cpu"
    )
    return list(islice(results, epochs))


def test_only_tensors_that_training_changes_are_written(tmp_path):
    model = Pretrained("resnet18", weights="none")
    recipe = Recipe(model=model, lr=1e-3, batch_size=8, epochs=1)
    list(fit(recipe, tiny_data(size=32), OBJECTIVE, seed=0, checkpoint=tmp_path, device="cpu"))
    assert path_of(tmp_path, "last").stat().st_size < 100_000  # the backbone alone is 45 MB
    _, parts = read_file(path_of(tmp_path, "last"))
    assert {"head.outputs.weight", "head.outputs.bias"} <= set(parts["model"])
    assert not any(name.startswith("backbone") for name in parts["model"])


@pytest.mark.parametrize("depth", range(5))
@pytest.mark.parametrize("batch_norm", ["train", "inference"])
def test_every_tensor_either_changes_or_is_frozen(depth, batch_norm):
    model = Pretrained("resnet18", weights="none", unfreeze_depth=depth, batch_norm=batch_norm)
    net = assemble(Recipe(model=model, lr=1e-3), classes=2, size=32, channels=3, seed=0)
    changing, frozen = set(net.changing()), set(frozen_tensors(net))
    assert not changing & frozen
    assert changing | frozen == {n for n, _ in [*net.named_parameters(), *net.named_buffers()]}
    statistics = {name for name in changing if "running" in name}
    assert bool(statistics) == (depth > 0 and batch_norm == "train")


def test_frozen_weights_that_changed_meanwhile_are_noticed(tmp_path):
    model = Pretrained("resnet18", weights="none")
    recipe = Recipe(model=model, lr=1e-3, batch_size=8, epochs=2)
    run(tmp_path, recipe=recipe, epochs=1)
    header, parts = read_file(path_of(tmp_path, "last"))
    write_file(path_of(tmp_path, "last"), {**header, "frozen": "of another weights file"}, parts)
    with pytest.raises(ModelFileError, match=r"was made on frozen weights with digest of another"):
        run(tmp_path, recipe=recipe)
    with pytest.raises(ModelFileError, match="was made on frozen weights"):
        restore_best(tmp_path)


def overwrite(path: Path, position: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(position, os.SEEK_END if position < 0 else os.SEEK_SET)
        file.write(content)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "header overwritten": lambda path: overwrite(path, 40, b"\xff" * 30),
    "a number changed": lambda path: overwrite(path, -3, b"\x55"),
    "a setting changed": lambda path: path.write_bytes(
        path.read_bytes().replace(b'\\"seed\\": 0', b'\\"seed\\": 1')
    ),
    "a pickle": lambda path: torch.save({"model": torch.zeros(3)}, path),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_told_and_how_to_mend_it(tmp_path, damage):
    run(tmp_path, epochs=1)
    before = path_of(tmp_path, "last").read_bytes()
    DAMAGE[damage](path_of(tmp_path, "last"))
    assert path_of(tmp_path, "last").read_bytes() != before
    with pytest.raises(ModelFileError, match=f"is damaged; delete the folder {tmp_path} to train"):
        run(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    header, parts = read_file(path_of(tmp_path, "last"))
    write_file(path_of(tmp_path, "last"), {**header, "format": 99}, parts)
    with pytest.raises(ModelFileError, match="has format 99, this version reads 2"):
        run(tmp_path)


def test_a_folder_without_a_best_epoch_says_so(tmp_path):
    with pytest.raises(ModelFileError, match=r"there is no file .*best\.safetensors"):
        read_best(tmp_path)


def test_a_kill_between_last_and_best_loses_no_best_epoch(tmp_path):
    """The state it leaves: `last` of the new best epoch, and `best` of the one before."""
    recipe, data = tiny_recipe(epochs=12, lr=1e-3), tiny_data()
    torn = tmp_path / "torn"
    before = None
    for result in fit(recipe, data, OBJECTIVE, seed=0, checkpoint=tmp_path / "run", device="cpu"):
        if result.best and result.epoch > 1:
            shutil.copytree(tmp_path / "run", torn)
            path_of(torn, "best").write_bytes(before)
            break
        before = path_of(tmp_path / "run", "best").read_bytes()
    assert torn.exists(), "the score never rose after the first epoch"
    expected = result.to_dict()
    assert read_best(torn).result == expected
    weights = restore_best(torn).state_dict()
    resumed = fit(recipe, data, OBJECTIVE, seed=0, checkpoint=torn, device="cpu")
    next(resumed)
    path_of(torn, "last").unlink()  # now `best` has to stand alone
    assert read_best(torn).result == expected
    for name, tensor in restore_best(torn).state_dict().items():
        assert torch.equal(tensor, weights[name])


@contextmanager
def no_file_may_exceed(size: int) -> Iterator[None]:
    """A limit on the size of files stands for a full disk; Python ignores the signal it sends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_training_goes_on_when_there_is_room_again(tmp_path):
    expected = run(tmp_path / "roomy")
    folder = tmp_path / "full"
    first = run(folder, epochs=1)
    kept = path_of(folder, "last").read_bytes()
    with no_file_may_exceed(2_000), pytest.raises(StoreError) as told:
        run(folder)
    assert f"cannot write {path_of(folder, 'last')}" in str(told.value)
    assert "File too large" in str(told.value)
    assert "What was there before is intact; make room on the disk" in str(told.value)
    assert path_of(folder, "last").read_bytes() == kept
    assert not list((folder / ".writing").iterdir())
    resumed = run(folder)
    assert resumed[0] == first[0]
    assert [r.search_score for r in resumed] == [r.search_score for r in expected]


def test_a_folder_that_is_no_folder_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="cannot write to folder"):
        prepare_folder(tmp_path / "taken")


KILLER = """
import os, signal, sys, time, torch
from pathlib import Path
from xfer.tensorfile import prepare_folder, read_file, write_file

folder = Path(sys.argv[1])
path = folder / "last.safetensors"
torch.set_num_threads(1)
first, numbers = torch.zeros(200_000), []
prepare_folder(folder)
write_file(path, {"n": 0}, {"model": {"w": first}})
for round_ in range(25):
    writer = os.fork()
    if not writer:
        prepare_folder(folder)
        for n in range(read_file(path)[0]["n"] + 1, 1_000_000):
            write_file(path, {"n": n}, {"model": {"w": first + n}})
    until = time.monotonic() + 0.05 + 0.0037 * round_
    while time.monotonic() < until:  # who reads meanwhile never finds nothing, or half
        header, parts = read_file(path)
        assert torch.equal(parts["model"]["w"], first + header["n"])
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    header, parts = read_file(path)
    assert torch.equal(parts["model"]["w"], first + header["n"])
    numbers.append(header["n"])
assert numbers == sorted(numbers)
print(numbers[-1])
"""


def test_processes_killed_while_they_write_always_leave_a_whole_checkpoint(tmp_path):
    """25 of them, each at another moment, each going on from what the one before left."""
    killer = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killer.returncode == 0, killer.stderr
    assert int(killer.stdout) > 50  # they did write
