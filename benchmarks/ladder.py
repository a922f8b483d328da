"""How much of what a prefix store could save is saved, cut by cut?

    TORCH_HOME=... XFER_DATA=... python -m benchmarks.ladder [BACKBONE ...] [--size N] [--pairs N]

With P for the frozen part's forward pass and S for that of what is trained, an epoch takes P + 3 S
an image without a store and 3 S with it: no store is quicker than (P + 3 S) / 3 S times. Trains a
recipe for each unfreeze depth on the chest X-rays, three epochs, in turns with every row computed
and with every row in the store. Prints that ceiling by multiply-adds; by time, the epoch over what
is left of it without the frozen part's own time; what was reached, and its share of the latter:
medians over the pairs of quickest epochs, and the least and the most. One process with a worker's
environment and all cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from search.workers import environment, plan
from xfer.recipe import Images, Objective, Pretrained, Recipe

EPOCHS, BATCH = 3, 32
_MOST = 30  # ceilings by FLOPs, up to which a share is told
OBJECTIVE = Objective("recall_weighted", recall_weight=0.75)


def main() -> None:
    """Prints a row for each backbone and depth."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("backbones", nargs="*", default=["squeezenet1_1", "mobilenet_v2"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    if "XFER_DATA" not in os.environ:
        raise SystemExit("XFER_DATA is not set: it names the folder that holds chest_xray")
    wanted = environment(plan(workers=1))
    if os.environ.get("MALLOC_ARENA_MAX") != wanted["MALLOC_ARENA_MAX"]:
        command = [sys.executable, "-m", "benchmarks.ladder", *sys.argv[1:]]
        raise SystemExit(subprocess.run(command, env=os.environ | wanted, check=False).returncode)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XFER_CACHE"] = folder
        measure(asked.backbones, size=asked.size, pairs=asked.pairs, root=Path(folder))


def measure(backbones: list[str], *, size: int, pairs: int, root: Path) -> None:
    """Prints a table.

    Args:
        backbones: whose weights are on this machine.
        size: side of the images, in pixels.
        pairs: how often each recipe is trained both ways.
        root: of the store.
    """
    from xfer.data.dataset import load_dataset
    from xfer.features import Features, FeatureStore
    from xfer.models.assembly import assemble
    from xfer.models.described import describe
    from xfer.numerics import pick_device
    from xfer.prefix import run_prefix
    from xfer.seen import to_images
    from xfer.store import Store
    from xfer.train import fit

    images = Images(
        str(Path(os.environ["XFER_DATA"]) / "chest_xray"), positive="PNEUMONIA", size=size
    )
    data = load_dataset(images, store=Store(root))[0].without("test")
    device = pick_device()
    count = len(data.splits["train"])
    print("| backbone | depth | ceiling, FLOPs | ceiling, time | reached | share of the latter |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in backbones:
        for depth in range(4):
            recipe = Recipe(
                model=Pretrained(name, unfreeze_depth=depth),
                lr=1e-4, batch_size=BATCH, epochs=EPOCHS,
            )  # fmt: skip
            its = describe(recipe, classes=2, size=size, channels=images.channels)
            if not its.prefix_madds:
                continue

            def seconds(pays: bool, recipe: Recipe = recipe) -> float:
                settings = FeatureStore(root=root, speed=1.0 if pays else 1e30)
                kept = Features.of_data(data, device=device, settings=settings)
                results = fit(recipe, data, OBJECTIVE, seed=0, device=device, features=kept)
                return min(result.seconds for result in results)

            net = assemble(recipe, classes=2, size=size, channels=images.channels, seed=0)
            given = to_images(data.pixels[data.splits["train"]], device)
            seconds(pays=True)  # now all rows are there
            reached, ceilings = [], []
            for _ in range(pairs):
                computed, stored = seconds(pays=False), seconds(pays=True)
                began = perf_counter()
                run_prefix(net, given)
                prefix = (perf_counter() - began) * (1 + len(data.splits["val"]) / count)
                reached.append(computed / stored)
                ceilings.append(computed / max(computed - prefix, 1e-9))
            shares = sorted(r / c for r, c in zip(reached, ceilings, strict=True))
            by_flops = 1 + its.prefix_madds / (3 * its.suffix_madds)
            share = f"{median(shares):.0%} ({shares[0]:.0%} to {shares[-1]:.0%})"
            # Of a ceiling far above, what is left of an epoch is lost in the noise of the whole.
            by_time = f"{median(ceilings):.1f} x | " if by_flops <= _MOST else "| "
            print(
                f"| {name} | {depth} | {by_flops:.1f} x | {by_time}"
                f"{median(reached):.1f} x ({min(reached):.1f} to {max(reached):.1f}) | "
                f"{share if by_flops <= _MOST else ''} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
