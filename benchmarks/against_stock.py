"""How much faster is a search here than the script that one would write from the tutorials?

    python -m benchmarks.against_stock head|real|mixed [--small] [--pairs N] [--out FILE]

Replays one list of trials through `benchmarks.stock` and through `python -m search.run`: the same
images, weights and hyperparameters, in the same order, each in a process and with a cache of its
own, in turns. Images and weights are written before the clock starts; imports, Ray's start and the
test of the winner are within it, and on our side the audit, controls and report, too.

`head` and `real` are lists that both sides train to the end. Told are the ratio of whole times, and
that of the time for each further trial, (T(n) - T(1)) / (n - 1): medians, least and most over the
pairs. Both must come to the same AUROC on validation, trial by trial, or the command ends with 1.
Two trainings of one recipe differ by order and first weights alone, so the means over the pairs may
differ by two standard errors that an AUROC has on so many images, and the mean over all trials by
.01, or by two standard errors of that mean.

`mixed` is a search that stops poor trials, each side in its own way (ASHA as in the tutorial). Told
is the ratio of times until the best trial so far, by validation, reaches a target AUROC on images
that neither side has seen, for each of a few targets; another list for each pair.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.replayed import Trial, Workload, workload
from benchmarks.sides import ROOT, Place, Run, Side, prepare, run_ours, run_stock
from benchmarks.written import missing

LARGEST_MEAN_DIFFERENCE = 0.01
"""Of AUROC, over all trials of a list; or two standard errors of that mean, if they are more."""
ERRORS_ALLOWED = 2.0
"""Standard errors of an AUROC by which one trial may differ."""

SIDES: dict[Side, Callable[[Place, Sequence[Trial]], Run]] = {"stock": run_stock, "ours": run_ours}
Runs = Mapping[Side, Sequence[Run]]
"""By pair."""


def ratio(slow: float, fast: float) -> float:
    """How many times as long; infinite where the fast one took no time that can be measured.

    >>> ratio(30.0, 2.0), ratio(1.0, -0.1)
    (15.0, inf)
    """
    return slow / fast if fast > 0 else math.inf


def per_further_trial(whole: float, first: float, trials: int) -> float:
    """Seconds for each trial but the first.

    Args:
        whole: seconds for all trials.
        first: seconds for the first alone.
        trials: how many there are; at least 2.

    >>> per_further_trial(50.0, 20.0, 16)
    2.0
    """
    return (whole - first) / (trials - 1)


def overhead_per_trial(whole: Run, first: Run) -> float:
    """Seconds in which a slot did not train, for each trial but the first ones.

    A slot runs n / slots trials one after another, and the run of the first trial alone has one.

    Args:
        whole: of all trials; with no more of them than slots the answer is not a number.
        first: of the first trial alone.
    """
    further = len(whole.trials) / whole.slots - 1
    if further <= 0:
        return math.nan
    trained = statistics.fmean(trial.trained for trial in whole.trials)
    return (whole.seconds - first.seconds) / further - trained


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, least and most, to three decimals, None where not finite; and how many.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'least': 1.0, 'most': 3.0, 'n': 3}
    """
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    rounded = {k: round(v, 3) if math.isfinite(v) else None for k, v in found.items()}
    return rounded | {"n": len(values)}


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC.

    J. A. Hanley and B. J. McNeil, The meaning and use of the area under a ROC curve, Radiology 143,
    1982, with their probabilities for scores that are exponentially distributed.

    Args:
        auroc: in [0, 1].
        positives: images.
        negatives: images.
    """
    two_positives = auroc / (2 - auroc)
    two_negatives = 2 * auroc**2 / (1 + auroc)
    variance = (
        auroc * (1 - auroc)
        + (positives - 1) * (two_positives - auroc**2)
        + (negatives - 1) * (two_negatives - auroc**2)
    ) / (positives * negatives)
    return math.sqrt(max(0.0, variance))


def compare_quality(
    stock: Sequence[Sequence[float]], ours: Sequence[Sequence[float]], *, images: int
) -> dict[str, Any]:
    """Whether both sides' AUROCs are equal, as far as so many images can tell.

    Args:
        stock: AUROC by pair and trial, at least two of those.
        ours: likewise.
        images: of each class, in validation.

    Returns:
        `differences`, ours less stock's by trial, means over the pairs; `allowed`, by trial;
        `mean`, over the trials; `equal`.
    """
    theirs = [statistics.fmean(column) for column in zip(*stock, strict=True)]
    our = [statistics.fmean(column) for column in zip(*ours, strict=True)]
    differences = [b - a for a, b in zip(theirs, our, strict=True)]
    # By the formula a perfect order has no error; one image among the others always may stray.
    allowed = [
        max(ERRORS_ALLOWED * auroc_error((a + b) / 2, images, images), 1 / images)
        for a, b in zip(theirs, our, strict=True)
    ]
    mean = statistics.fmean(differences)
    chance = statistics.stdev(differences) / math.sqrt(len(differences))
    return {
        "differences": [round(d, 4) for d in differences],
        "allowed": [round(a, 4) for a in allowed],
        "mean": round(mean, 4),
        "equal": abs(mean) <= max(LARGEST_MEAN_DIFFERENCE, ERRORS_ALLOWED * chance)
        and all(abs(d) <= a for d, a in zip(differences, allowed, strict=True)),
    }


def replay(works: Sequence[Workload], root: Path, say: Callable[[dict[str, Any]], None]) -> bool:
    """Measures a workload; whether both sides came to the same quality.

    Args:
        works: the workload for each pair; they differ in their trials at most.
        root: folder for everything, absolute and empty.
        say: is given a dict for each run, and one in the end.
    """
    work = works[0]
    about = {"benchmark": "against_stock", "workload": work.name}
    first: dict[Side, list[Run]] = {side: [] for side in SIDES}
    whole: dict[Side, list[Run]] = {side: [] for side in SIDES}
    place = prepare(work, root)
    for pair, of_pair in enumerate(works):
        place = replace(place, work=of_pair, seed=pair)
        for kept, count in ((first, 1), (whole, len(of_pair.trials))):
            if kept is first and work.targets:
                continue
            for side, run_side in SIDES.items():
                run = run_side(place, of_pair.trials[:count])
                kept[side].append(run)
                say(about | {"pair": pair, "trials": count} | run.to_json())
    summary = to_targets(work, whole) if work.targets else summarise(work, first, whole)
    say(about | summary | {"machine": machine(), "versions": versions()})
    return bool(work.targets) or summary["quality"]["equal"]


def summarise(work: Workload, first: Runs, whole: Runs) -> dict[str, Any]:
    """What the runs of a list that is trained to the end amount to.

    Args:
        work: what was replayed.
        first: runs of the first trial alone.
        whole: runs of the whole list.
    """
    further = {
        side: [
            per_further_trial(all_of.seconds, one.seconds, len(work.trials))
            for all_of, one in zip(whole[side], first[side], strict=True)
        ]
        for side in SIDES
    }
    return {
        "trials": len(work.trials),
        "whole": _ratios(whole, lambda run: run.seconds),
        "searched": _ratios(whole, lambda run: run.searched),
        "further": spread([ratio(s, o) for s, o in zip(*further.values(), strict=True)]),
        "seconds": {side: spread([run.seconds for run in whole[side]]) for side in SIDES},
        "overhead_s": {
            side: spread(list(map(overhead_per_trial, whole[side], first[side]))) for side in SIDES
        },
        "seconds_further": {side: spread(values) for side, values in further.items()},
        "quality": compare_quality(
            *([[trial.auroc for trial in run.trials] for run in whole[side]] for side in SIDES),
            images=work.val,
        ),
    }


def to_targets(work: Workload, whole: Runs) -> dict[str, Any]:
    """What the runs of searches for targets amount to.

    Ratios are over the pairs in which ours came to the target. Where only stock never did, its
    whole time stands for the time that it would have taken.
    """
    found = {}
    for target in work.targets:
        reached = {side: [run.reached(target) for run in whole[side]] for side in SIDES}
        ratios = [
            ratio(stock.seconds if theirs is None else theirs, ours)
            for stock, theirs, ours in zip(whole["stock"], *reached.values(), strict=True)
            if ours is not None
        ]
        found[str(target)] = {
            "ratio": spread(ratios) if ratios else None,
            "reached": {side: len(whole[side]) - reached[side].count(None) for side in SIDES},
        }
    return {
        "trials": len(work.trials),
        "to_target": found,
        "whole": _ratios(whole, lambda run: run.seconds),
        "seconds": {side: spread([run.seconds for run in whole[side]]) for side in SIDES},
    }


def _ratios(runs: Runs, seconds: Callable[[Run], float]) -> dict[str, float | None]:
    pairs = zip(runs["stock"], runs["ours"], strict=True)
    return spread([ratio(seconds(stock), seconds(ours)) for stock, ours in pairs])


def machine() -> dict[str, Any]:
    """What it was measured on."""
    import torch

    from search.workers import count_cpus

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": count_cpus(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Of what did the work; ours is the commit."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    packages = {name: version(name) for name in ("torch", "torchvision", "ray", "optuna")}
    return {"ours": git.stdout.strip(), "python": platform.python_version()} | packages


def main() -> None:
    """Measures one workload, and prints a JSON line for each run and one for all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workload", choices=["head", "real", "mixed"])
    parser.add_argument("--small", action="store_true", help="minutes, not an hour")
    parser.add_argument("--pairs", type=int, help="runs of each side (3; of mixed 5; small: 1)")
    parser.add_argument("--out", type=Path, help="a file to which the lines are added")
    parser.add_argument("--place", type=Path, help="folder for images and runs (/tmp)")
    asked = parser.parse_args()
    work = workload(asked.workload, small=asked.small)
    why_not = missing(work)
    if why_not is not None:
        print(f"{work.name} is skipped: {why_not}")
        return
    pairs = asked.pairs or (1 if asked.small else 5 if work.targets else 3)
    works = [
        workload(work.name, small=asked.small, seed=pair) if work.targets else work
        for pair in range(pairs)
    ]

    def say(line: dict[str, Any]) -> None:
        text = json.dumps({"small": asked.small} | line)
        print(text, flush=True)
        if asked.out is not None:
            with asked.out.open("a") as file:
                file.write(text + "\n")

    with tempfile.TemporaryDirectory(dir=asked.place, prefix="against-stock-") as folder:
        equal = replay(works, Path(folder).absolute(), say)
    if not equal:
        raise SystemExit("the two sides did not come to the same AUROC: no ratio counts.")


if __name__ == "__main__":
    main()
