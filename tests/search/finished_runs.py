"""Runs as they lie on disk when they are finished: just what `search.compare` reads of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.rundir import RunDir
from search.tested import Tested, write_tested

HEALTHY, SICK = "healthy", "sick"


def labels_of(images: int = 300, positives: int | None = None) -> np.ndarray:
    """int64 (images,): the last ones are positive, half of them unless it is said."""
    positives = images // 2 if positives is None else positives
    return (np.arange(images) >= images - positives).astype(np.int64)


def answers(
    labels: np.ndarray,
    accuracy: float,
    seed: int,
    *,
    hard: np.ndarray | None = None,
    classes: int = 2,
) -> np.ndarray:
    """float64 (images, classes): a share `accuracy` is answered right, as nearly as can be.

    Those for which `hard` (images,) and chance are highest are not.
    """
    generator = np.random.default_rng(seed)
    trouble = generator.normal(size=len(labels)) + (0 if hard is None else 3 * hard)
    wrong = np.argsort(-trouble)[: round((1 - accuracy) * len(labels))]
    said = labels.copy()
    said[wrong] = (said[wrong] + 1) % classes
    sure = generator.uniform(0.55, 0.99, len(labels))
    given = np.repeat(((1 - sure) / (classes - 1))[:, None], classes, axis=1)
    given[np.arange(len(labels)), said] = sure
    return given


def experiment(number: int, name: str, **changes: Any) -> dict[str, Any]:
    """An entry of `experiments` in result.json."""
    return {
        "number": number, "name": name, "state": "complete", "ended": "all epochs",
        "trained": 20_990, "epochs": 8, "seconds": 75.0, "search_score": 0.9,
        "test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}},
        "recipe": f"recipe of {name}", "untested": None, "published": None, "differs": "",
    } | changes  # fmt: skip


def write_run(
    folder: Path,
    given: Mapping[str, np.ndarray],
    *,
    labels: np.ndarray | None = None,
    winner: np.ndarray | None = None,
    threshold: float = 0.3,
    seed: int = 0,
    images: Sequence[str] | None = None,
    patients: Sequence[str] | None = None,
    classes: tuple[str, ...] = (HEALTHY, SICK),
    binary: bool = True,
    entries: Mapping[str, Mapping[str, Any]] | None = None,
    search: bool = False,
    result: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a run.

    Args:
        folder: its own.
        given: answers of experiments by name.
        labels: of the test images.
        winner: its answers; None: those of the first experiment.
        threshold: the winner's.
        seed: of the run.
        images: digests; None: made up, the same for all runs of as many images.
        patients: of the images; None: each image is of another.
        classes: names.
        binary: the second is the positive one.
        entries: changes to entries of `experiments`, by name; of names that have no answers,
            experiments that were not finished.
        search: it was a search: nothing is told of experiments.
        result: changes to result.json.
        manifest: changes to manifest.json.
    """
    folder.mkdir(parents=True)
    labels = labels_of() if labels is None else labels
    count = len(labels)
    first = next(iter(given.values())) if winner is None else winner
    names = () if search else tuple(given)
    write_tested(
        RunDir(folder).tested,
        Tested(
            names=("winner", *names),
            numbers=np.arange(len(names) + 1),
            thresholds=np.array([threshold] + [0.5] * len(names)) * (1 if binary else np.nan),
            probabilities=np.stack([first, *(given[name] for name in names)]),
            labels=labels,
            images=tuple(images or (f"image {i:05}" for i in range(count))),
            patients=tuple(patients or (f"patient {i}" for i in range(count))),
            classes=classes,
        ),
    )
    told = dict(entries or {})
    experiments = [
        experiment(i, name, **told.pop(name, {})) for i, name in enumerate(given, start=1)
    ] + [experiment(90 + i, n, **{"test": None} | each) for i, (n, each) in enumerate(told.items())]
    content = {
        "name": folder.name, "demo": False, "seed": seed, "interrupted": False, "opened": 1,
        "finalists": None, "experiments": None if search else experiments,
        "best": {"number": 0}, "test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(content | dict(result or {})))
    about = {
        "command": ["python", "-m", "search.run", "spaces/beans.py", "--known-only"],
        "plan": {
            "options": {"folds": None},
            "data": {"path": "/data/beans", "size": 224},
        },
        "data": {"digest": "da7a", "images": 1000},
    }
    (folder / "manifest.json").write_text(json.dumps(about | dict(manifest or {})))
    (folder / "trials.csv").write_text(
        "number,name,state,value,skill,best_epoch,epochs,seconds,ended\n"
        "0,,complete,0.9,,3,8,61.5,all epochs\n"
    )
    return folder
