"""Spaces written for real images run as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import DUE, ROOT, environment, left_in, result_of, run

XFER_DATA, TORCH_HOME = os.environ.get("XFER_DATA"), os.environ.get("TORCH_HOME")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (XFER_DATA and TORCH_HOME),
        reason="XFER_DATA and TORCH_HOME are not both set: no real images, or no weights for them",
    ),
]


def new(place: Path, *words: str) -> str:
    """What `search.new` prints, typed where this project is."""
    done = subprocess.run(
        [sys.executable, "-m", "search.new", *words],
        cwd=ROOT, env=environment(place, weights=TORCH_HOME), capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("data", "positive", "seen"),
    [
        ("smoking", "smoking", ["    not_smoking      240       60", "all 250 x 250 pixels"]),
        ("beans", None, ["    healthy                 95       35", "all 256 x 256 pixels"]),
    ],
)
def test_a_written_space_runs(
    data: str, positive: str | None, seen: list[str], tmp_path: Path
) -> None:
    file = tmp_path / f"{data}.py"
    told = new(tmp_path, data, "--data", str(Path(XFER_DATA or ".") / data), "--out", str(file))
    assert "No problems." in told
    text = file.read_text()
    assert "will be cut from train" in " ".join(text.split())
    for line in [*seen, 'BACKBONES = ["mobilenet_v2", "squeezenet1_1"]']:
        assert line in text
    said = run(
        tmp_path, str(file), "--trials", "2", "--epochs", "1", "--refits", "0",
        "--image-size", "64", "--workers", "1", weights=TORCH_HOME,
    )  # fmt: skip
    folder = tmp_path / "runs" / data
    result = result_of(folder)
    assert left_in(folder) == DUE
    assert result["answer"] in said
    assert result["trials"]["complete"] == 2
    assert result["trials"]["failed"] == result["trials"]["infeasible"] == 0
    assert result["best"]["name"] in ("mobilenet_v2 frozen", "mobilenet_v2 last stage")
    assert result["objective"]["name"] == (
        "balanced_accuracy" if positive is None else "recall_weighted"
    )
