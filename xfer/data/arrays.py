"""Which images are in an `.npz` of the MedMNIST layout?

`train_images` (n, h, w) or (n, h, w, 3), `train_labels` (n, 1) or (n,), and the same for `val` and
`test` where there are such parts. Labels are named by an array `classes` in the file, else by
MedMNIST's published names (https://github.com/MedMNIST/MedMNIST, medmnist/info.py) where the file
is called as theirs, else by their digits. Nothing is unpickled.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from xfer.data.items import SPLITS, Listing, Split, unusable

_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver",
    "lung-left", "lung-right", "pancreas", "spleen",
)  # fmt: skip
_MEDMNIST: dict[str, tuple[str, ...]] = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal, benign"),
    "octmnist": (
        "choroidal neovascularization", "diabetic macular edema", "drusen", "normal",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
        "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi",
        "vascular lesions",
    ),
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte",
        "monocyte", "neutrophil", "platelet",
    ),
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle",
        "normal colon mucosa", "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}  # fmt: skip


_KEY = re.compile(r"(train|val|test)_(images|labels)|classes")
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and zipfile raise on files that are not what they should be."""


def list_npz(path: Path) -> Listing:
    """The images of an `.npz`; what is wrong with it stands in `problems`."""
    problems: list[str] = []
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if _KEY.fullmatch(name)}
            there = ", ".join(file.files) or "nothing"
    except _UNREADABLE as error:
        return unusable(str(path), [f"{path} cannot be read as an .npz: {error}"])
    if "train_images" not in arrays:
        wanted = "train_images and train_labels (and the same for val and test)"
        return unusable(str(path), [f"{path} has {there}; an .npz must have {wanted}"])
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    parts: list[Split] = []
    for split in SPLITS:
        part, said = _part(arrays, split)
        problems += [f"{path}: {problem}" for problem in said]
        if part is not None:
            images.append(part[0])
            labels.append(part[1])
            parts.append(split)
    if problems:
        return unusable(str(path), problems)
    classes = _class_names(path, arrays.get("classes"), int(max(part.max() for part in labels)))
    if isinstance(classes, str):
        return unusable(str(path), [f"{path}: {classes}"])
    present = [set(part.tolist()) for part in labels]
    for split, here in zip(parts, present, strict=True):
        for label in sorted(set().union(*present) - here):
            problems.append(f"{path}: {split} has no image of class {classes[label]!r}")
    rows = [(part, row) for part in range(len(parts)) for row in range(len(labels[part]))]
    return Listing(
        name=str(path),
        names=[f"{parts[part]}/{row:05d}" for part, row in rows],
        classes=[classes[labels[part][row]] for part, row in rows],
        splits=[parts[part] for part, _ in rows],
        patients=None,
        has_file_names=False,
        read=lambda i: images[rows[i][0]][rows[i][1]],
        digest=None,
        problems=problems,
    )


def _part(
    arrays: dict[str, np.ndarray], split: Split
) -> tuple[tuple[np.ndarray, np.ndarray] | None, list[str]]:
    """Images and labels (n,) of a split, or None; and what is wrong with them."""
    images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
    if images is None and labels is None:
        return None, []
    if images is None or labels is None:
        lone = "images" if labels is None else "labels"
        return None, [f"{split}_{lone} stands alone; images need labels and labels need images"]
    problems = []
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
        problems.append(f"{split}_images must be (n, h, w) or (n, h, w, 3), got {images.shape}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        problems.append(
            f"{split}_labels must be (n, 1) or (n,), one label per image, got {labels.shape}"
        )
    elif labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        problems.append(f"{split}_labels must be whole numbers from 0, got {labels.dtype}")
    elif len(labels) != len(images):
        problems.append(f"{split} has {len(images)} images but {len(labels)} labels")
    elif not len(labels):
        problems.append(f"{split} has no images; leave it out and one is cut from train")
    return (None if problems else (images, labels.astype(np.int64))), problems


def _class_names(path: Path, given: np.ndarray | None, highest: int) -> tuple[str, ...] | str:
    """Names by label, or what is wrong."""
    if given is not None:
        names = tuple(str(name) for name in given.reshape(-1))
        if len(names) <= highest or len(set(names)) < len(names):
            return f"classes must be {highest + 1} different names or more, got {list(names)}"
        return names
    published = _MEDMNIST.get(re.sub(r"_\d+$", "", path.stem.lower()), ())
    if highest < len(published):
        return published
    return tuple(str(label) for label in range(highest + 1))
