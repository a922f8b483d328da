"""The command, as somebody would type it: real processes, real Ray, real images."""

import csv
import json
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command import DUE, DUE_OF_BEST, ROOT, command, environment, left_in, result_of, run

from search.errors import StudyError
from search.run import main
from search.study import Record, storage_told
from xfer.recipe import ConvNet, Recipe

FIVE_MISTAKES = """
from search.space import Budget, Trial
from xfer.recipe import ConvNet, Images, Objective, Recipe

DATA = Images("builtin:digits", positive="eight", size=16, channels=1)
OBJECTIVE = Objective("auroc")
BUDGET = Budget(trials=2, epochs=2)
KNOWN = {"a": {"kernles": 8}, "b": {"lr": 5.0}, "c": {"size": 4}}

def space(trial: Trial) -> Recipe:
    lr = trial.suggest_float("lr", 1e-4, 1e-2)
    kernels = trial.suggest_int("kernels", 4, 8)
    size = trial.suggest_int("size", 3, 5, step=2)
    return Recipe(model=ConvNet(kernels=(kernels,), kernel_size=size, dropout=2.0), lr=lr)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def digits(place: Path) -> str:
    return run(
        place, "spaces/digits.py", "--trials", "4", "--epochs", "3", "--refits", "1",
        "--name", "eights",
    )  # fmt: skip


@pytest.mark.slow
def test_a_search_leaves_a_whole_folder(digits: str, place: Path) -> None:
    folder = place / "runs" / "eights"
    assert left_in(folder) == DUE
    assert {path.name for path in (folder / "best").iterdir()} == DUE_OF_BEST
    with (folder / "trials.csv").open() as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_the_summary_says_what_the_screen_says(digits: str, place: Path) -> None:
    result = result_of(place / "runs" / "eights")
    assert result["answer"] in digits
    assert result["answer"].startswith("Missed ")
    assert sum(result["trials"].values()) == 4
    assert result["trials"]["waiting"] == 0
    assert not result["demo"]
    assert not result["interrupted"]
    counts = result["test"]["confusion"]
    assert sum(counts.values()) == sum(result["data"]["splits"]["test"].values())
    assert result["test"]["recall"]["value"] == counts["tp"] / (counts["tp"] + counts["fn"])
    kept = {int(path.name) for path in (place / "runs" / "eights" / "checkpoints").iterdir()}
    assert result["best"]["number"] in kept
    assert len(kept) <= 3 + 3 + 1  # the best, the best that may win, the first known one


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.slow
def test_no_process_is_left_behind(digits: str, place: Path) -> None:
    def left() -> list[bytes]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"XFER_CACHE={place}/cache".encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes())
            except OSError:
                continue  # it has ended, or is somebody else's
        return found

    end = time.monotonic() + 10  # a killed process takes its time on a loaded machine
    while left() and time.monotonic() < end:
        time.sleep(0.2)
    assert not left()


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused(digits: str, place: Path) -> None:
    said = run(place, "spaces/digits.py", "--name", "eights", code=2)
    assert "run 'eights' exists" in said
    assert "--resume" in said


@pytest.mark.slow
def test_another_seed_cannot_be_smuggled_into_a_run(digits: str, place: Path) -> None:
    words = ("spaces/digits.py", "--name", "eights", "--resume", "--seed", "5")
    assert "--seed was 0 when the run began" in run(place, *words, code=2)


@pytest.mark.slow
def test_a_finished_run_is_extended_and_the_test_part_stays_as_it_is(
    digits: str, place: Path
) -> None:
    folder = place / "runs" / "eights"
    before = result_of(folder)
    said = run(place, "spaces/digits.py", "--name", "eights", "--resume", "--trials", "6")
    after = result_of(folder)
    assert sum(after["trials"].values()) == 6
    assert len(json.loads((folder / "test_opened.json").read_text())) == 1
    if after["best"]["number"] == before["best"]["number"]:
        assert after["test"] == before["test"]
    else:
        assert after["test"] is None
        assert "--reopen-test" in said


# --------------------------------------------------------------------------------------------------
# What a user can get wrong: one clear message, exit code 2, no traceback


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["spaces/digit.py"], "no space file spaces/digit.py"),
        (["spaces/digits.py", "--trails", "3"], "did you mean '--trials'"),
        (["spaces/digits.py", "--trials", "0"], "--trials must be a whole number of at least 1"),
        (["spaces/digits.py", "--refits", "50"], "--refits must be a whole number in [0, 20]"),
        (["spaces/any.py"], "--data PATH"),
        (["spaces/any.py", "--data", "/nowhere"], "no images at /nowhere"),
        (["spaces/digits.py", "--positive", "eight"], "positive 'eight' is not a class"),
        (["spaces/digits.py", "--backbones", "resnet18", "--resume", "--name", "x"], "no run 'x'"),
    ],
)
def test_what_is_wrong_is_told_once(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*words, "--out", str(tmp_path / "runs")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_five_mistakes_are_told_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    space = tmp_path / "five.py"
    space.write_text(FIVE_MISTAKES)
    assert main([str(space), "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("5 problems:"), told
    for said in ("positive 'eight'", "did you mean 'kernels'", "5.0", "'size'", "ConvNet.dropout"):
        assert said in told


def test_weights_that_cannot_be_had_are_named_with_the_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "weights"))
    words = ["spaces/any.py", "--data", "builtin:phantoms:60", "--positive", "PNEUMONIA"]
    assert main([*words, "--offline", "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    for said in ("squeezenet1_1", "mobilenet_v2", "resnet18", "--backbones", "--weights none"):
        assert said in told


def test_a_storage_that_fails_is_told_in_a_sentence(tmp_path: Path) -> None:
    with Record(tmp_path / "study.db", name="s", seed=0, epochs=2) as record:
        with sqlite3.connect(tmp_path / "study.db") as other:
            other.execute("DROP TABLE trials")
        broken = pytest.raises(StudyError, match=r"cannot be written any more: .*--resume")
        with broken, storage_told():
            record.ask(lambda trial: Recipe(model=ConvNet(kernels=(8,)), lr=1e-3))


# --------------------------------------------------------------------------------------------------
# Interruptions


def wait_for(condition: Any, *, seconds: float, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.2)


def has_told(folder: Path, trials: int) -> bool:
    file = folder / "trials.csv"
    return file.is_file() and file.read_text().count("\n") > trials


LONGER = (
    "spaces/digits.py", "--workers", "1", "--trials", "9", "--epochs", "5", "--minutes", "9",
    "--refits", "1",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, *LONGER, "--name", "whole")
    return folder / "runs" / "whole"


@pytest.mark.parametrize(
    ("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_end_of_an_undisturbed_one(
    tmp_path: Path, whole: Path, end: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        command(tmp_path, *LONGER, "--name", "broken"),
        cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    folder = tmp_path / "runs" / "broken"
    wait_for(lambda: has_told(folder, 2), seconds=200, process=process)
    process.send_signal(end)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    if code == 130:
        assert "--resume" in said
        assert result_of(folder)["interrupted"]
        assert result_of(folder)["test"] is None
    assert len([row for row in recorded(folder) if row[-1]]) < 9  # it was in the middle
    run(tmp_path, "spaces/digits.py", "--name", "broken", "--resume")
    assert recorded(folder) == recorded(whole)
    assert result_of(folder)["test"] == result_of(whole)["test"]


def recorded(folder: Path) -> list[Any]:
    """All that a study says of its trials, but for times."""
    import optuna

    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder}/study.db")
    return [
        (t.number, t.state, t.params, t.values, t.intermediate_values, t.user_attrs.get("ended"))
        for t in study.trials
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_under_uv_run_workers_use_the_projects_environment(tmp_path: Path) -> None:
    words = ["uv", "run", "--no-sync", "python", "-m", "search.run", "spaces/digits.py"]
    words += ["--trials", "2", "--epochs", "1", "--out", str(tmp_path / "runs")]
    done = subprocess.run(
        words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=280,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert result_of(tmp_path / "runs" / "digits")["trials"]["failed"] == 0
