"""What does `python -m xfer.train` do? Trains one recipe, without a search, and ships its best.

Exit codes: 0 done; 2 what was given is wrong; 1 anything else; 130 interrupted, and the same
command goes on from the last epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer.errors import NotFinite, RecipeError, StoreError, XferError
from xfer.recipe import Images, Objective, Recipe, from_json

DESCRIPTION = """\
Trains one recipe on one set of images, without a search and without Ray.

Prints a line per epoch and leaves in DIR:
  checkpoint/   the last and the best epoch; the same command goes on from there
  best/         the best epoch's model, for python -m xfer.predict
The test part of the data is not looked at."""

EXAMPLE = """\
A recipe is what xfer.recipe.to_json gives, for instance
  {"kind": "Recipe", "lr": 0.001, "epochs": 10,
   "model": {"kind": "Pretrained", "name": "resnet18", "unfreeze_depth": 1}}
and an objective
  {"kind": "Objective", "name": "recall_weighted", "recall_weight": 0.75,
   "threshold": {"kind": "TargetRecall", "recall": 0.95}}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    asked = _parser().parse_args(arguments)
    try:
        _run(asked)
    except KeyboardInterrupt:
        print("xfer.train: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except XferError as error:
        print(f"xfer.train: {error}", file=sys.stderr)
        return 1 if isinstance(error, NotFinite | StoreError) else 2
    except (RuntimeError, MemoryError) as error:
        from xfer.numerics import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        print(
            "xfer.train: out of memory; a smaller batch_size, a smaller --size or a smaller model "
            "needs less",
            file=sys.stderr,
        )
        return 1
    return 0


def _run(asked: argparse.Namespace) -> None:
    recipe = _read(asked.recipe, Recipe)
    objective = Objective("balanced_accuracy")
    if asked.objective is not None:
        objective = _read(asked.objective, Objective)
    if asked.epochs is not None:
        recipe = replace(recipe, epochs=asked.epochs)
    if recipe.epochs is None:
        raise RecipeError(f"{asked.recipe} names no epochs; say how many with --epochs N")
    if asked.seed < 0:
        raise RecipeError(f"--seed must be at least 0, got {asked.seed}")
    images = Images(
        asked.data,
        positive=asked.positive,
        size=asked.size,
        channels=asked.channels,
        patient=asked.patient,
    )

    from xfer.checkpoint import read_best, restore_best
    from xfer.data.dataset import load_dataset
    from xfer.evaluate.calibration import fit_calibration
    from xfer.evaluate.metrics import evaluate_binary, evaluate_classes
    from xfer.evaluate.thresholds import choose_threshold
    from xfer.export import export
    from xfer.features import Features
    from xfer.models.interpolation import interpolation_of
    from xfer.numerics import pick_device
    from xfer.steps import strata
    from xfer.store import Store, default_root
    from xfer.train import fit

    if asked.device == "cuda" and pick_device().type != "cuda":
        raise RecipeError("--device cuda: torch sees no CUDA device on this machine")
    data, loading = load_dataset(
        images,
        store=Store(default_root()),
        seed=asked.seed,
        interpolations=(interpolation_of(recipe.model),),
        given="resplit" if asked.resplit else "keep" if asked.keep_splits else "clean",
    )
    counts = ", ".join(f"{len(rows)} {part}" for part, rows in data.splits.items())
    print(f"{counts} images of {', '.join(data.classes)}", flush=True)
    for line in (*loading.notes, *loading.made, *loading.marks):
        print(line)
    if loading.skipped:
        print(f"{len(loading.skipped)} files could not be used")

    checkpoint = asked.out / "checkpoint"
    device = pick_device() if asked.device is None else asked.device
    for result in fit(
        recipe,
        data,
        objective,
        seed=asked.seed,
        checkpoint=checkpoint,
        device=device,
        features=Features.of_data(data.without("test"), device=device),
    ):
        print(
            f"epoch {result.epoch}/{recipe.epochs}"
            f"  train loss {result.train['loss']:.4f}"
            f"  val loss {result.val['loss']:.4f}"
            f"  auroc {result.val['auroc']:.4f}"
            f"  {objective.name} {result.search_score:.4f}{'*' if result.best else ' '}"
            f"  {result.seconds:.1f} s",
            flush=True,
        )
        if result.stopped:
            print(f"stopped early: no better epoch in {recipe.early_stopping}")

    best = read_best(checkpoint)
    calibration = fit_calibration(best.logits, best.labels)
    probabilities = calibration.apply(best.logits)
    print(calibration.said)
    if len(data.classes) == 2:
        scores, rows = probabilities[:, 1], data.splits["val"]
        threshold = choose_threshold(
            objective.threshold,
            objective,
            scores,
            best.labels,
            patients=[data.patients[i] for i in rows],
            subgroups=strata(objective, data, rows),
        )
        metrics = evaluate_binary(scores, best.labels, threshold=threshold.value)
        print(threshold.said)
    else:
        threshold = None
        metrics = evaluate_classes(probabilities, best.labels, data.classes)
    metrics = {"loss": best.result["val"]["loss"], **metrics}
    folder = export(
        asked.out / "best",
        restore_best(checkpoint),
        recipe,
        data,
        threshold=threshold,
        calibration=calibration,
        metrics={"val": metrics},
        marks=loading.marks,
        about={"seed": asked.seed, "epoch": best.result["epoch"]},
    )
    print(f"the model of epoch {best.result['epoch']} is in {folder}")


def _read(path: Path, kind: type) -> Any:
    """A recipe or an objective from its JSON file.

    Raises:
        RecipeError: no such file, no JSON, or something else in it.
    """
    try:
        value = from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error
    except ValueError as error:
        raise RecipeError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, kind):
        raise RecipeError(
            f'{path} must hold a {kind.__name__}, {{"kind": "{kind.__name__}", ...}}, '
            f"got {type(value).__name__}"
        )
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m xfer.train",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--recipe", type=Path, required=True, metavar="FILE", help="the recipe, as JSON"
    )
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="a folder, an .npz, or builtin:digits"
    )
    parser.add_argument("--positive", metavar="CLASS", help="class that must not be missed")
    parser.add_argument(
        "--objective",
        type=Path,
        metavar="FILE",
        help="what is maximised, as JSON (balanced accuracy)",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="in place of the recipe's")
    parser.add_argument("--size", type=int, default=224, metavar="N", help="image side (224)")
    parser.add_argument(
        "--channels", type=int, choices=(1, 3), default=3, help="1 keeps gray values only (3)"
    )
    parser.add_argument(
        "--patient",
        metavar="REGEX",
        help="what it matches in a path names images that stay on one side of every split",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--resplit", action="store_true", help="drop the parts that the images come in, split anew"
    )
    parts.add_argument(
        "--keep-splits", action="store_true", help="leave given parts as they are, leaks included"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of splits, weights, order and dropout (0)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("trained"), metavar="DIR", help="what is written (trained)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="cuda where there is one")
    return parser
