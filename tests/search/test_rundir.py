"""A run's folder: claimed once, written whole, held by one process."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search.errors import RunError
from search.rundir import RunDir, create_run, open_run, resume_run

ROOT = Path(__file__).parent.parent.parent
HOLD = """
import sys, time
from pathlib import Path
from search.rundir import RunDir
with RunDir(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def begun(out: Path, name: str, *, at: int | None = None) -> RunDir:
    run = create_run(out, name=name, stem="x")
    run.write_json(run.manifest, {})
    if at is not None:
        os.utime(run.manifest, (at, at))
    return run


def test_names_are_the_stem_then_numbered(tmp_path: Path) -> None:
    names = [create_run(tmp_path, name=None, stem="digits").name for _ in range(3)]
    assert names == ["digits", "digits-2", "digits-3"]


def test_commands_at_the_same_time_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_run(tmp_path, name=None, stem="x").name, range(24)))
    assert len(set(runs)) == 24


def test_a_name_that_is_taken_is_refused_with_the_way_out(tmp_path: Path) -> None:
    create_run(tmp_path, name="mine", stem="x")
    with pytest.raises(RunError) as caught:
        create_run(tmp_path, name="mine", stem="x")
    assert str(caught.value) == (
        f"run 'mine' exists in {tmp_path}: add --resume to go on with it, or choose another --name."
    )


def test_every_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = create_run("runs", name=None, stem="x")
    paths = [
        run.space, run.manifest, run.audit, run.study, run.trials, run.tensorboard,
        run.checkpoints, run.checkpoint(7), run.best, run.report, run.result, run.ray,
    ]  # fmt: skip
    assert all(path.is_absolute() and path.is_relative_to(tmp_path / "runs/x") for path in paths)
    assert run.checkpoint(7) == tmp_path / "runs/x/checkpoints/7"
    assert len(set(paths)) == len(paths)


def test_the_latest_run_of_the_stem_is_resumed(tmp_path: Path) -> None:
    begun(tmp_path, "x", at=300)
    begun(tmp_path, "x-2", at=200)
    begun(tmp_path, "x-10", at=100)
    begun(tmp_path, "x-y", at=900)
    begun(tmp_path, "other", at=900)
    create_run(tmp_path, name="x-3", stem="x")  # interrupted before it began
    assert resume_run(tmp_path, name=None, stem="x").name == "x"
    assert resume_run(tmp_path, name="x-10", stem="x").name == "x-10"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gone", "no run 'gone' in {out}; it has a, b."),
        (None, "no run of x to resume in {out}; it has a, b."),
    ],
)
def test_resuming_what_is_not_there_names_what_is(
    name: str | None, text: str, tmp_path: Path
) -> None:
    begun(tmp_path, "a")
    begun(tmp_path, "b")
    with pytest.raises(RunError) as caught:
        resume_run(tmp_path, name=name, stem="x")
    assert str(caught.value) == text.format(out=tmp_path)


def test_resuming_where_nothing_ever_ran_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run of x to resume in .*; it has none"):
        resume_run(tmp_path / "runs", name=None, stem="x")


def test_a_run_without_a_manifest_cannot_be_resumed_or_opened(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="early", stem="x")
    with pytest.raises(RunError, match=r"holds no manifest.json: .*interrupted before it began"):
        resume_run(tmp_path, name="early", stem="x")
    with pytest.raises(RunError, match=r"is no run's folder"):
        open_run(run.root)
    run.write_json(run.manifest, {})
    assert open_run(run.root) == run


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    run.write_json(run.result, {"a": [1, 2.5, None, "ü"]})
    run.write_json(run.result, {"b": 1})
    assert run.read_json(run.result) == {"b": 1}
    assert [path.name for path in run.root.iterdir()] == ["result.json"]


def test_a_value_that_json_cannot_say_changes_nothing(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    run.write_json(run.result, {"b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json(run.result, {"b": float("nan")})
    assert run.read_json(run.result) == {"b": 1}


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    run = create_run(tmp_path, name="x", stem="x")
    run.write_text(run.result, "old")
    (run.root / f".result.json.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"cannot write .*result.json: the disk is full"):
        run.write_text(run.result, "new")
    assert run.result.read_text() == "old"
    assert [path.name for path in run.root.iterdir()] == ["result.json"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="cannot make"):
        create_run(tmp_path / "runs", name="x", stem="x")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    run.write_text(run.manifest, '{"a": ')
    with pytest.raises(RunError, match=r"run 'x': cannot read .*manifest.json"):
        run.read_json(run.manifest)


def test_the_lock_can_be_taken_again_after_it_was_let_go(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    for _ in range(2):
        with run.lock():
            assert run.lock_file.read_text() == str(os.getpid())


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    command = [sys.executable, "-c", HOLD, str(run.root)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError) as caught, run.lock():
            pass
        assert str(caught.value) == (
            f"run 'x' is being written by process {holder.pid}: wait for it, stop it, or choose "
            "another --name."
        )
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with run.lock():
        pass


def test_what_a_killed_driver_started_does_not_keep_its_lock(tmp_path: Path) -> None:
    run = create_run(tmp_path, name="x", stem="x")
    script = HOLD.replace(
        'print("held", flush=True)',
        'import subprocess\n    print(subprocess.Popen(["sleep", "60"]).pid, flush=True)',
    )
    command = [sys.executable, "-c", script, str(run.root)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    try:
        os.kill(child, 0)  # it lives
        with run.lock():
            assert json.loads(run.lock_file.read_text()) == os.getpid()
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
