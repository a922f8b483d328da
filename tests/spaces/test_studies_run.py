"""Every study is run to its end, as small as it goes: all experiments, none altered in silence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.space import load_space

ROOT = Path(__file__).parent.parent.parent
MOBILE, SQUEEZE = "mobilenet_v2", "squeezenet1_1"
AT_80 = ("--image-size", "80", "--epochs", "1")  # Inception takes no less than 75
PNEUMONIA = {
    "inception_v3": MOBILE, "resnet50": MOBILE, "resnet152": MOBILE, "densenet121": SQUEEZE,
}  # fmt: skip
STUDIES: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "A": (
        "pneumonia", "chest_xray", {k: v for k, v in PNEUMONIA.items() if k != "resnet152"},
        (*AT_80, "--known", "A*", "--resplit", "--test-share", "0.15"),
    ),
    "B": ("pneumonia", "chest_xray", PNEUMONIA, (*AT_80, "--known", "B*")),
    "C": ("alzheimer", "builtin:brains:200", {}, ("--epochs", "1")),
    "D": (
        "cats_dogs", "cats_dogs", {"vgg16": MOBILE, "resnet50": MOBILE},
        ("--image-size", "32", "--epochs", "2", "--known", "D*"),
    ),
    "E": ("beans", "beans", {"inception_v3": MOBILE}, ("--image-size", "64", "--epochs", "2")),
    "F": ("smoking", "smoking", {"resnet18": MOBILE}, ("--image-size", "32", "--epochs", "1")),
}  # fmt: skip
"""Space, images, what stands in for what, and how small."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("XFER_DATA" not in os.environ, reason="XFER_DATA is not set: no images"),
    pytest.mark.skipif("TORCH_HOME" not in os.environ, reason="TORCH_HOME is not set: no weights"),
]


@pytest.mark.parametrize("study", STUDIES)
def test_all_experiments_of_a_study_are_trained_and_tested(study: str, tmp_path: Path) -> None:
    space, images, others, flags = STUDIES[study]
    place = images if ":" in images else str(Path(os.environ["XFER_DATA"]) / images)
    stand_ins = [word for pair in others.items() for word in ("--stand-in", "=".join(pair))]
    done = subprocess.run(
        [
            sys.executable, "-m", "search.run", f"spaces/{space}.py", "--data", place,
            "--known-only", *flags, *stand_ins, "--workers", "2", "--name", study,
            "--out", str(tmp_path), "--offline",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
        env=os.environ | {"XFER_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / study / "result.json").read_text())
    known = load_space(ROOT / f"spaces/{space}.py").known
    asked = {name: entry for name, entry in known.items() if name[0] == study}
    names = [
        f"{name} with {others[entry['model']]}" if entry["model"] in others else name
        for name, entry in asked.items()
    ]
    experiments = result["experiments"]
    assert [one["name"] for one in experiments] == names
    assert [one["state"] for one in experiments] == ["complete"] * len(names)
    tested = sum(sum(part.values()) for part in [result["data"]["splits"]["test"]])
    for one in experiments:
        confusion = one["test"]["confusion"]
        counted = confusion.get("matrix") or [confusion[cell] for cell in ("tp", "fp", "fn", "tn")]
        assert sum(map(sum, counted) if "matrix" in confusion else counted) == tested
        assert one["published"] is not None
        for old, new in others.items():
            swapped = f"{new} stands in for {old}."
            assert (swapped in one["differs"]) == (
                asked[one["name"].split(" with ")[0]]["model"] == old
            )
    assert any("Not trained as the space says" in mark for mark in result["marks"])
