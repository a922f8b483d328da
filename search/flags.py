"""Which flags does `search.run` know, and what may stand behind each?

Standard library only. `search.options` reads a command line by these tables.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from search.messages import near


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        allowed = f"of at least {low}" if high is None else f"in [{low}, {high}]"
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            raise ValueError(f"must be a whole number {allowed}, got {text!r}")
        return value

    return read


def _between(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number in [{low:g}, {high:g}], got {text!r}")
        return value

    return read


def _above_zero(high: float | None = None) -> Callable[[str], float]:
    def read(text: str) -> float:
        allowed = "above 0" if high is None else f"in (0, {high:g}]"
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or value <= 0 or (high is not None and value > high):
            raise ValueError(f"must be a number {allowed}, got {text!r}")
        return value

    return read


def _gpus(text: str) -> float:
    if text == "auto":
        raise ValueError("auto is not built yet; give a number, or leave it out")
    return _above_zero(8)(text)


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError(f"must be names with commas between them, got {text!r}")
    return tuple(dict.fromkeys(names))


def _stand_in(text: str) -> str:
    old, _, new = (part.strip() for part in text.partition("="))
    if not old or not new or "=" in new or "," in text or old == new:
        raise ValueError(
            "must say for which model another stands in, such as inception_v3=mobilenet_v2; it may "
            f"be repeated, got {text!r}"
        )
    return f"{old}={new}"


def _weights(text: str) -> str:
    if text not in ("imagenet", "none"):
        raise ValueError(f"must be imagenet or none, got {text!r}{near(text, ['imagenet'])}")
    return text


def _file_name(text: str) -> str:
    if not text.strip() or "/" in text or "\\" in text or "\0" in text or text[0] in ".-":
        raise ValueError(
            f"must be a plain folder name that begins with neither '.' nor '-', got {text!r}; "
            "--out says where the folder is"
        )
    return text


def _url(text: str) -> str:
    if "://" not in text:
        raise ValueError(f"must be a URL such as sqlite:///study.db, got {text!r}")
    return text


_DATA = "a folder, an .npz, the URL of one, or builtin:NAME, in place of the space's"
_STORAGE = (
    "storage of the study, in place of the run's own SQLite file: "
    "postgresql://USER@HOST/DATABASE, with the password in PGPASSWORD or ~/.pgpass; one in the URL "
    "works too, is not kept, and is given again with --resume"
)

Row = tuple[str, str | None, Callable[[Any], Any], str]
"""Flag; what stands behind it in the help (None: a switch); what reads its text, raising
ValueError with the end of a sentence; help."""
GROUPS: dict[str, list[Row]] = {
    "images": [
        ("--data", "PATH", _text, _DATA),
        ("--positive", "CLASS", _text, "class that must not be missed"),
        ("--image-size", "N", _whole(8, 4096), "side of the images, in pixels"),
        ("--demo", None, bool, "built-in phantom images and a small budget"),
        ("--resplit", None, bool, "drop the parts that the images come in, split by patient anew"),
        ("--keep-splits", None, bool, "leave given parts as they are, leaks included, and say so"),
        ("--test-share", "F", _between(0.02, 0.8), "share of a test part that is cut (.2)"),
        ("--strict", None, bool, "what the audit finds, and can be mended, is an error"),
    ],
    "budget": [
        ("--trials", "N", _whole(1), "trials, finished or not"),
        ("--epochs", "N", _whole(1), "at most this many epochs per trial"),
        ("--minutes", "M", _above_zero(), "wall time of the search"),
        ("--folds", "K", _whole(2, 20), "score each trial on K folds, cut by patient"),
        ("--refits", "K", _whole(0, 20), "train the best K again on folds, to choose (default 3)"),
        ("--seed", "N", _whole(0, 2**32 - 1), "of sampler and weights (default 0)"),
    ],
    "what is searched": [
        ("--backbones", "A,B", _names, "only these models, of those the space names"),
        ("--weights", "W", _weights, "imagenet, or none: train from random weights"),
        ("--offline", None, bool, "never fetch weights"),
        ("--known", "NAMES", _text, "only these known configurations, or 'A*' (may be repeated)"),
        ("--known-only", None, bool, "train the known configurations alone, each to its end"),
        ("--stand-in", "A=B", _stand_in, "run known configurations of model A with B, and say so"),
    ],
    "machine": [
        ("--workers", "N", _whole(1), "trials side by side"),
        ("--gpus-per-trial", "F", _gpus, "GPUs of one worker, such as 1 or 0.5"),
        ("--address", "ADDR", _text, "Ray cluster to join"),
        ("--cache-gb", "G", _above_zero(), "disk space for decoded images and features"),
    ],
    "run": [
        ("--name", "NAME", _file_name, "name of the run's folder (default: the space's)"),
        ("--out", "DIR", _text, "folder of the runs (default: runs)"),
        ("--resume", None, bool, "go on with the run called NAME; other flags stay as they were"),
        ("--reopen-test", None, bool, "score another winner of a resumed run on the test part"),
        ("--keep", "K", _whole(1), "trials whose checkpoints stay in the end (default 3)"),
        ("--storage", "URL", _url, _STORAGE),
        ("--dry-run", None, bool, "say what would be done, and end"),
    ],
}  # fmt: skip

_ON_A_CLUSTER: dict[str, Row] = {
    "--address": ("--address", "URL", _text, "the cluster's dashboard, such as http://HEAD:8265"),
    "--out": ("--out", "DIR", _text, "folder of the runs, which all nodes see; must be given"),
}
SUBMIT: dict[str, list[Row]] = {
    title: [_ON_A_CLUSTER.get(row[0], row) for row in rows] for title, rows in GROUPS.items()
} | {
    "job": [
        ("--probe-seconds", "S", _above_zero(), "longest look at the cluster (default 60)"),
        ("--list", None, bool, "all jobs of searches, and end"),
        ("--status", "ID", _text, "how a job is, and end"),
        ("--logs", "ID", _text, "what a job prints, until it ends"),
        ("--stop", "ID", _text, "end a job so that it can go on later"),
    ],
}
"""The same for `search.submit`, with flags of its own."""
