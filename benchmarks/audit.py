"""What does the audit cost beside decoding the images once?

    XFER_DATA=... python -m benchmarks.audit [IMAGES]

Writes JPEGs of 224 x 224 pixels, each of another patient's X-ray (PneumoniaMNIST, enlarged, with
noise of its own), to a temporary folder; decodes them into an empty store and audits them. Prints
seconds of wall time and of processors, and their shares of the decoding's: where others use the
machine too, trust the latter. The alarm for changed copies, which looks at 50 sampled images
however many there are, is told apart.
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
from xfer.data.decoded import Decoded, decode_source
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


def timed(step: Callable[[], Any]) -> tuple[np.ndarray, Any]:
    """Seconds of wall time and of processors, all threads together, and what the step returns."""
    begin = np.array([time.perf_counter(), time.process_time()])
    result = step()
    return np.array([time.perf_counter(), time.process_time()]) - begin, result


def main(images: int) -> None:
    """Prints a line per part."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        write(folder, images)
        asked = Images(str(folder), positive="ill", size=SIDE)
        source, store = open_source(asked), Store(Path(place) / "store")

        def decode_all() -> Decoded:
            return decode_source(
                source, asked, store=store, interpolations=["bilinear"], progress=None
            )

        (_, used), decoded = timed(decode_all)
        (_, digests), _ = timed(decode_all)  # all is there: what the first call did besides
        decode = np.array([decoded.seconds, used - digests])
        data, loading = load_dataset(asked, store=store)
        copies, _ = timed(lambda: look_through(data.pixels))
        facts, _ = timed(lambda: read_facts(source, range(len(source.items))))
        alarm, _ = timed(lambda: overlaps.find_changed(data, loading))
        with patch("xfer.data.audit.find_changed", return_value=([], "")):
            rest, found = timed(lambda: audit(data, loading))
        seconds, processors = decode
        print(
            f"{decoded.count:,} images decoded: {seconds:.1f} s, {processors:.1f} s of processors"
        )
        for name, spent in (
            ("copies, mean and contrast", copies), ("facts", facts), ("all else", rest),
            ("together", copies + facts + rest), ("alarm for changed copies", alarm),
        ):  # fmt: skip
            (seconds, processors), (share, own) = spent, spent / decode
            print(
                f"{name:>26}: {seconds:6.2f} s, {share:.2f} of decoding;"
                f" {processors:6.2f} s of processors, {own:.2f}"
            )
        print("findings:", ", ".join(finding.kind for finding in found.findings))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6000)
