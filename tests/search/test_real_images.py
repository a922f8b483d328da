"""Searches on real images end in time, complete, and no worse than a linear probe."""

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import DUE, DUE_OF_BEST, left_in, result_of, run

XFER_DATA, TORCH_HOME = os.environ.get("XFER_DATA"), os.environ.get("TORCH_HOME")
DATA = Path(XFER_DATA or ".")
BACKBONES = ("squeezenet1_1", "mobilenet_v2")
SIZE = 128
MOST_SECONDS = 20 * 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not (XFER_DATA and TORCH_HOME),
        reason="XFER_DATA and TORCH_HOME are not both set: no real images, or no weights for them",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a command left behind."""

    said: str
    folder: Path
    seconds: float

    @property
    def result(self) -> dict[str, Any]:
        return result_of(self.folder)


def search(place: Path, space: str, *words: str) -> Searched:
    began = time.monotonic()
    said = run(place, f"spaces/{space}.py", *words, weights=TORCH_HOME, seconds=1400)
    seconds = time.monotonic() - began
    return Searched(said=said, folder=place / "runs" / space, seconds=seconds)


def assert_complete(found: Searched, *, trials: int, positive: str) -> None:
    """Everything due is there, and its numbers agree with each other."""
    result, folder = found.result, found.folder
    assert left_in(folder) == DUE
    assert {path.name for path in (folder / "best").iterdir()} == DUE_OF_BEST
    told = result["trials"]
    assert sum(told.values()) == trials
    assert told["complete"] >= 1
    assert told["waiting"] == told["failed"] == told["infeasible"] == 0
    assert not result["demo"]
    assert not result["interrupted"]
    splits = result["data"]["splits"]
    kept = result["data"]["images"] - result["data"]["removed"]
    assert sum(sum(part.values()) for part in splits.values()) == kept
    counts, test = result["test"]["confusion"], result["test"]
    assert counts["tp"] + counts["fn"] == splits["test"][positive]
    assert sum(counts.values()) == sum(splits["test"].values())
    assert test["recall"]["value"] == counts["tp"] / splits["test"][positive]
    for metric in ("recall", "specificity", "precision"):
        assert test[metric]["low"] <= test[metric]["value"] <= test[metric]["high"]
    assert 0 < result["threshold"]["value"] < 1
    assert result["answer"] in found.said
    missed = f"Missed {counts['fn']} of {splits['test'][positive]} {positive} "
    assert result["answer"].casefold().startswith(missed.casefold())  # as the space writes it
    assert result["best"]["val"]["search_score"] > 0.5
    assert 0 < result["counters"]["images_decoded"] <= result["data"]["images"]


def trials_of(found: Searched) -> list[dict[str, str]]:
    with (found.folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


# --------------------------------------------------------------------------------------------------
# Chest X-rays


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    return search(
        tmp_path_factory.mktemp("chest"), "pneumonia", "--data", str(DATA / "chest_xray"),
        "--image-size", str(SIZE), "--trials", "16", "--epochs", "8",
        "--workers", "1",  # one worker repeats exactly; two may prune another trial each time
        "--backbones", ",".join(BACKBONES),
    )  # fmt: skip


def test_a_search_on_chest_x_rays_ends_within_twenty_minutes(chest: Searched) -> None:
    assert chest.seconds <= MOST_SECONDS, (
        f"the search took {chest.seconds / 60:.1f} minutes; on two cores that do nothing else it "
        f"is to end within {MOST_SECONDS // 60}"
    )


def test_a_search_on_chest_x_rays_is_complete(chest: Searched) -> None:
    assert_complete(chest, trials=16, positive="PNEUMONIA")
    assert chest.result["data"]["splits"] == {
        part: {"NORMAL": count, "PNEUMONIA": count}
        for part, count in (("train", 200), ("val", 50), ("test", 50))
    }
    assert chest.result["data"]["patients"] == 600
    assert chest.result["best"]["params"]["model"] in BACKBONES


def test_a_search_is_no_worse_than_a_linear_probe(chest: Searched) -> None:
    auroc = chest.result["test"]["auroc"]["value"]
    assert auroc > 0.97
    name, probe = best_probe()
    # The aim is .01, met so far: .0008 and .0084 below. On 50 and 50 test images an AUROC of .985
    # has a standard error of .012 (Hanley and McNeil), so a new sampler may miss it by chance.
    assert auroc >= probe - 0.02, (
        f"a linear probe on {name} has {probe:.3f}, the search {auroc:.3f}"
    )


def best_probe() -> tuple[str, float]:
    """The backbone whose frozen, pooled features are best on validation; its AUROC on test."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    parts = {part: chest_part(part) for part in ("train", "val", "test")}
    found = []
    for name in BACKBONES:
        values = {part: features(name, images) for part, (images, _) in parts.items()}
        for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
            probe = make_pipeline(
                StandardScaler(), LogisticRegression(C=strength, max_iter=5000)
            ).fit(values["train"], parts["train"][1])
            scores = {
                part: roc_auc_score(parts[part][1], probe.decision_function(values[part]))
                for part in ("val", "test")
            }
            found.append((scores["val"], name, scores["test"]))
    assert len(found) == 12
    _, name, test = max(found, key=lambda entry: entry[0])  # of equal ones the strictest
    return name, float(test)


def chest_part(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, SIZE, SIZE, 3) and labels (count,) of one folder."""
    from xfer.data.decode import decode_image, read_image_file

    images, labels = [], []
    for label, kind in enumerate(("NORMAL", "PNEUMONIA")):
        for path in sorted((DATA / "chest_xray" / part / kind).iterdir()):
            images.append(decode_image(read_image_file(path), size=SIZE))
            labels.append(label)
    return np.stack(images), np.array(labels)


def features(name: str, images: np.ndarray) -> np.ndarray:
    """Pooled outputs (count, values) of a frozen backbone."""
    import torch

    from xfer.models.assembly import assemble
    from xfer.recipe import Head, Pretrained, Recipe

    recipe = Recipe(model=Pretrained(name), head=Head(pool="average"), lr=1e-3)
    net = assemble(recipe, classes=2, size=SIZE, channels=3, seed=0).eval()
    batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(50)
    return torch.cat([net.prefix(batch) for batch in batches]).numpy()


# --------------------------------------------------------------------------------------------------
# Others


def test_a_search_on_an_npz_is_complete(tmp_path: Path) -> None:
    found = search(
        tmp_path, "pneumonia", "--data", str(DATA / "pneumoniamnist.npz"),
        "--image-size", "56", "--known-only", "--epochs", "2", "--backbones", "squeezenet1_1",
    )  # fmt: skip
    assert_complete(found, trials=1, positive="pneumonia")
    assert found.result["data"]["splits"] == {
        "train": {"normal": 1214, "pneumonia": 3484},  # 10 are in val, too
        "val": {"normal": 135, "pneumonia": 389},
        "test": {"normal": 234, "pneumonia": 390},
    }
    with np.load(DATA / "pneumoniamnist.npz") as arrays:
        images = np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
    different = len(np.unique(images, axis=0))
    assert different < len(images)
    assert found.result["counters"]["images_decoded"] == different
    assert found.result["test"]["auroc"]["value"] > 0.8


def test_a_search_on_any_folder_is_complete(tmp_path: Path) -> None:
    found = search(
        tmp_path, "any", "--data", str(DATA / "smoking"), "--positive", "smoking",
        "--image-size", "64", "--trials", "3", "--epochs", "2",
        "--backbones", "convnet,squeezenet1_1,mobilenet_v2",
    )  # fmt: skip
    assert_complete(found, trials=3, positive="smoking")
    splits = found.result["data"]["splits"]
    assert splits["val"] == {"not_smoking": 60, "smoking": 60}
    assert {name: splits["train"][name] + splits["test"][name] for name in splits["val"]} == {
        "not_smoking": 240, "smoking": 240,
    }  # fmt: skip
    assert sum(splits["test"].values()) == 96  # the folder has none, so a fifth of train was cut
    assert {row["name"] for row in trials_of(found)} == {
        "mobilenet, frozen", "squeezenet, frozen", "three convolutions",
    }  # fmt: skip
