"""Tunes transfer learning with Ray Tune and torchvision alone, as their tutorials show it.

    python -m benchmarks.stock TRIALS.json DATA OUT [--grace EPOCHS]

What `benchmarks.against_stock` measures us by. Nothing of ours is imported. It follows "How to use
Tune with PyTorch" of Ray's documentation and PyTorch's transfer learning tutorial: a function that
is trained in a process of its own for each trial, ImageFolder and DataLoader, a checkpoint and a
report after every epoch, Optuna and ASHA; Ray's defaults everywhere else. So a trial has one core
(and a GPU where there is one), and as many are side by side as there are cores.

Where the tutorials leave a choice, it is the quicker or better one:

* max_concurrent_trials is set: without it Tune keeps one trial at a time waiting with a searcher.
* DataLoaders have no worker processes: the images are small, and every core has a trial already.
* Frozen parameters get no gradient, and the optimiser has only the others.
* Batch norms stay in inference mode: statistics of a frozen layer are those it was trained with.
* Heads begin near zero, as torchvision has it in squeezenet and mobilenet_v2: with low learning
  rates they come further in a few epochs than from the default of nn.Linear.
* Of a trial's checkpoints the best and the last are kept; the tutorial keeps all.
* Images are resized to a square, not cropped: the middle of a radiograph is not all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

WEIGHTS = {
    "resnet18": "IMAGENET1K_V1",
    "resnet50": "IMAGENET1K_V1",
    "squeezenet1_1": "IMAGENET1K_V1",
    "mobilenet_v2": "IMAGENET1K_V2",
}
RESNET = (("conv1", "bn1", "layer1"), ("layer2",), ("layer3",), ("layer4",))
ENDS = {"squeezenet1_1": (0, 3, 6, 9, 13), "mobilenet_v2": (0, 4, 7, 14, 19)}
"""Where the stages of `features` end: where the resolution is halved."""
CLASSES = 2
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_model(backbone: str, *, unfreeze_depth: int) -> nn.Module:
    """A pretrained model with a new head; the head and so many stages before it are trained."""
    model = torchvision.models.get_model(backbone, weights=WEIGHTS[backbone])
    model.requires_grad_(False)
    for stage in stages(backbone)[4 - unfreeze_depth :]:
        for module in stage:
            model.get_submodule(module).requires_grad_(True)
    if backbone.startswith("resnet"):
        model.fc = new_head(model.fc.in_features)
    elif backbone == "mobilenet_v2":
        model.classifier = new_head(model.last_channel)
    else:
        model.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), new_head(512))
    return model


def new_head(features: int) -> nn.Linear:
    """A linear layer that begins near zero."""
    head = nn.Linear(features, CLASSES)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head


def stages(backbone: str) -> tuple[tuple[str, ...], ...]:
    """Four groups of modules, from the input."""
    if backbone.startswith("resnet"):
        return RESNET
    ends = ENDS[backbone]
    return tuple(
        tuple(f"features.{number}" for number in range(begin, end)) for begin, end in pairwise(ends)
    )


def load_part(data_dir: str | Path, part: str, *, image_size: int) -> ImageFolder:
    """The images in a folder of class folders."""
    transform = transforms.Compose(
        [
            transforms.Resize((image_size, image_size)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return ImageFolder(str(Path(data_dir) / part), transform=transform)


def train_classifier(config: Mapping[str, Any], data_dir: str) -> None:
    """One trial."""
    train_set = load_part(data_dir, "train", image_size=config["image_size"])
    val_set = load_part(data_dir, "val", image_size=config["image_size"])
    train_loader = DataLoader(train_set, batch_size=config["batch_size"], shuffle=True)
    val_loader = DataLoader(val_set, batch_size=config["batch_size"])

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(config["backbone"], unfreeze_depth=config["unfreeze_depth"]).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config["lr"],
    )
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "checkpoint.pt", map_location=device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"]

    for epoch in range(start, config["epochs"]):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        for images, labels in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        scores, labels = predict(model, val_loader, device=device)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "epoch": epoch + 1,
                },
                Path(folder) / "checkpoint.pt",
            )
            tune.report(
                {
                    "auroc": auroc(scores, labels),
                    "accuracy": ((scores > 0.5) == (labels == 1)).float().mean().item(),
                },
                checkpoint=tune.Checkpoint.from_directory(folder),
            )


def predict(model: nn.Module, loader: DataLoader, *, device: str) -> tuple[Tensor, Tensor]:
    """Probabilities of the second class (images,), and labels (images,)."""
    model.eval()
    scores, truth = [], []
    with torch.no_grad():
        for images, labels in loader:
            scores.append(model(images.to(device)).softmax(dim=1)[:, 1].cpu())
            truth.append(labels)
    return torch.cat(scores), torch.cat(truth)


def auroc(scores: Tensor, labels: Tensor) -> float:
    """How often an image of the second class has the higher score than one of the first.

    Args:
        scores: (images,).
        labels: (images,), 0 or 1.
    """
    above = scores[labels == 1][:, None] - scores[labels == 0]
    return ((above > 0).double() + 0.5 * (above == 0).double()).mean().item()


def param_space(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is searched; every one of the trials lies in it."""
    choices = {
        name: tune.choice(sorted({trial[name] for trial in trials}))
        for name in ("backbone", "batch_size", "epochs", "image_size")
    }
    return choices | {"unfreeze_depth": tune.randint(0, 5), "lr": tune.loguniform(1e-5, 1e-1)}


def tune_trials(
    trials: Sequence[Mapping[str, Any]], data_dir: Path, out: Path, *, grace: int
) -> tune.ResultGrid:
    """Runs these trials, in this order.

    Args:
        trials: hyperparameters: `backbone`, `unfreeze_depth`, `lr`, `batch_size`, `epochs`,
            `image_size`.
        data_dir: holds `train` and `val`, folders of class folders.
        out: for Ray's results.
        grace: epochs before a trial can be stopped.
    """
    trainable = tune.with_parameters(train_classifier, data_dir=str(data_dir.absolute()))
    gpus = min(1, torch.cuda.device_count())
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1, "gpu": gpus}),
        param_space=param_space(trials),
        tune_config=tune.TuneConfig(
            metric="auroc",
            mode="max",
            search_alg=OptunaSearch(points_to_evaluate=[dict(trial) for trial in trials]),
            scheduler=ASHAScheduler(
                max_t=max(trial["epochs"] for trial in trials),
                grace_period=grace,
                reduction_factor=2,
            ),
            num_samples=len(trials),
            max_concurrent_trials=os.cpu_count(),
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(out.absolute()),
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="auroc", checkpoint_score_order="max"
            ),
        ),
    )
    return tuner.fit()


def load_model(config: Mapping[str, Any], checkpoint: Path) -> nn.Module:
    """A trial's model as its best epoch left it."""
    model = build_model(config["backbone"], unfreeze_depth=config["unfreeze_depth"])
    model.load_state_dict(torch.load(checkpoint / "checkpoint.pt", map_location="cpu")["model"])
    return model


def main() -> None:
    """Tunes, tests the best model, and writes `OUT/trials.json`: what came of each trial."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trials", type=Path, help="JSON: a list of hyperparameters")
    parser.add_argument("data", type=Path, help="holds train, val and test")
    parser.add_argument("out", type=Path)
    parser.add_argument("--grace", type=int, default=1, help="epochs before a trial can be stopped")
    asked = parser.parse_args()
    trials = json.loads(asked.trials.read_text())
    results = tune_trials(trials, asked.data, asked.out, grace=asked.grace)
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials broke; the first: {results.errors[0]}")

    best = results.get_best_result()
    test_set = load_part(asked.data, "test", image_size=best.config["image_size"])
    checkpoint = Path(best.get_best_checkpoint("auroc", "max").path)
    model = load_model(best.config, checkpoint)
    loader = DataLoader(test_set, batch_size=best.config["batch_size"])
    scores, labels = predict(model, loader, device="cpu")
    print(f"Best: {best.config}, AUROC on test {auroc(scores, labels):.3f}")

    rows = []
    for result in results:
        checkpoint = result.get_best_checkpoint("auroc", "max")
        rows.append(
            {
                "trial": {name: result.config[name] for name in trials[0]},
                "auroc": float(result.metrics_dataframe["auroc"].max()),
                "epochs": int(result.metrics["training_iteration"]),
                "ended": float(result.metrics["timestamp"]),
                "seconds": float(result.metrics["time_total_s"]),
                "checkpoint": checkpoint.path if checkpoint else None,
            }
        )
    (asked.out / "trials.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
