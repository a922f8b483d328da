"""How do tests run the command? As somebody would type it, with folders of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DUE = {
    "space.py", "manifest.json", "audit.json", "study.db", "trials.csv", "tensorboard",
    "checkpoints", "answers", "best", "report.html", "result.json", "test_opened.json",
    "tested.npz",
}  # fmt: skip
"""What a finished run leaves in its folder."""
REFITS = "refits"
"""What training the best again leaves beside it; there exactly where that was done."""
DUE_OF_BEST = {
    "model.safetensors", "recipe.json", "preprocessing.json", "threshold.json", "metrics.json",
    "model_card.md", "calibration.json",
}  # fmt: skip
"""What it leaves of its winner."""


def environment(place: Path, *, weights: str | None = None) -> dict[str, str]:
    """Ours, but with a cache below `place`, and no weights but those asked for."""
    return os.environ | {
        "XFER_CACHE": str(place / "cache"),
        "TORCH_HOME": weights or str(place / "weights"),
    }


def command(place: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "search.run", *words, "--out", str(place / "runs")]


def run(
    place: Path,
    *words: str,
    code: int = 0,
    root: Path = ROOT,
    weights: str | None = None,
    seconds: float = 280,
) -> str:
    """What a command prints; it must end with that exit code, and never with a traceback."""
    done = subprocess.run(
        command(place, *words),
        cwd=root, env=environment(place, weights=weights), capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    return said


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def left_in(folder: Path) -> set[str]:
    """Names in a finished run's folder, without the lock, and without refits where they belong."""
    names = {path.name for path in folder.iterdir()} - {".lock"}
    assert (REFITS in names) == (result_of(folder)["finalists"] is not None), names
    return names - {REFITS}
