"""What does the audit cost beside decoding the images once?

    XFER_DATA=... python -m benchmarks.audit [IMAGES]

Writes JPEGs of 224 x 224 pixels, each of another patient's X-ray (PneumoniaMNIST, enlarged, with
noise of its own), to a temporary folder; decodes them into an empty store and audits them. Prints
seconds of wall time and their share of the decoding's. The alarm for changed copies, which looks at
50 sampled images however many there are, is told apart.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from xfer.data import overlaps
from xfer.data.audit import audit
from xfer.data.dataset import load_dataset
from xfer.data.duplicates import look_through
from xfer.data.facts import read_facts
from xfer.data.sources import open_source
from xfer.recipe import Images
from xfer.store import Store

SIDE = 224


def write(folder: Path, images: int) -> None:
    """Half of them of each class, train : val : test as 8 : 1 : 1; colour JPEGs, as X-rays come."""
    path = Path(os.environ["XFER_DATA"]) / "pneumoniamnist.npz"
    with np.load(path) as arrays:
        small = np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
    small = np.unique(small.reshape(len(small), -1), axis=0).reshape(-1, 28, 28)
    rng = np.random.default_rng(0)
    for i in range(images):
        part = ("train", "val", "test")[max(0, i % 10 - 7)]
        target = folder / part / ("ill", "well")[i // 10 % 2] / f"{i}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shown = Image.fromarray(small[i % len(small)])
        if i >= len(small):
            shown = shown.transpose(Image.Transpose.ROTATE_90)
        large = np.asarray(shown.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = (large + rng.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).convert("RGB").save(target, quality=90)


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall time, and what the step returns."""
    begin = time.perf_counter()
    result = step()
    return time.perf_counter() - begin, result


def main(images: int) -> None:
    """Prints a line per part."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        write(folder, images)
        asked = Images(str(folder), positive="ill", size=SIDE)
        data, loading = load_dataset(asked, store=Store(Path(place) / "store"))
        decode = loading.decode_seconds
        copies, _ = timed(lambda: look_through(data.pixels))
        source = open_source(asked)
        facts, _ = timed(lambda: read_facts(source, range(len(source.items))))
        alarm, _ = timed(lambda: overlaps.find_changed(data, loading))
        with patch("xfer.data.audit.find_changed", return_value=([], "")):
            rest, found = timed(lambda: audit(data, loading))
        print(f"{loading.images:,} images decoded in {decode:.1f} s")
        for name, seconds in (
            ("copies, mean and contrast", copies), ("facts", facts), ("all else", rest),
            ("together", copies + facts + rest), ("alarm for changed copies", alarm),
        ):  # fmt: skip
            print(f"{name:>26}: {seconds:6.1f} s, {seconds / decode:.2f} of decoding")
        print("findings:", ", ".join(finding.kind for finding in found.findings))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6000)
