"""How is a shipped model loaded again? Without a network, without unpickling, or with one message.

See `xfer.export` for the folder's files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from xfer.data.decode import DECODER
from xfer.data.square import FILTERS
from xfer.errors import DataError, ModelFileError, RecipeError
from xfer.evaluate.calibration import Calibration
from xfer.models.assembly import assemble
from xfer.models.net import Net
from xfer.recipe import Images, Recipe, from_json
from xfer.tensorfile import digest

FORMAT = 2
"""Of the folder; goes up when an older program could not read it. 1 had no calibration."""
MODEL = "model.safetensors"
CALIBRATION = "calibration.json"
ANTIALIASED = ", antialiased"
"""After an interpolation's name in preprocessing.json, for those who write another program."""
MARKS = "marks"
"""In metrics.json, beside the parts; models that were shipped before have none."""
DOCUMENTS = ("recipe.json", "preprocessing.json", "threshold.json", "metrics.json")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model that was shipped, loaded again."""

    net: Net
    """In inference mode, on the CPU."""
    recipe: Recipe
    """What it was trained by."""
    images: Images
    """Size, fit and channels of what it sees; of the other fields it knows nothing."""
    interpolation: str
    """How images are resized for it: `bilinear` or `bicubic`."""
    classes: tuple[str, ...]
    """Names, in the order of outputs."""
    positive: str | None
    """The class that must not be missed."""
    calibration: Calibration | None
    """Makes probabilities of the net's logits; None: softmax does, and they are no one's share."""
    threshold: float | None
    """Class 1 is the answer from this probability on; None: the most probable class is."""
    said: str
    """How the decision is made and what it promises."""
    supported: bool
    """False where the threshold's rule asked for more than its images can vouch for."""
    metrics: Mapping[str, Any]
    """By part, as they were exported; what was not a number is None."""
    marks: tuple[str, ...]
    """What has to stand beside every answer, as sentences."""
    demo: bool
    """It was trained on synthetic images."""


def load_exported(folder: Path) -> Exported:
    """The model in a folder that `export` wrote; fetches nothing, unpickles nothing.

    Its predictions are those of the exported net, bit for bit at the same batches, device and
    number of threads.

    Raises:
        ModelFileError: a file is missing, damaged, or of another version; all of them are named
            where several are missing or cannot be read.
    """
    folder = folder.absolute()
    if not folder.exists() and beside(folder, "old").is_dir():
        folder = beside(folder, "old")  # a kill fell between the two renames of an export
    documents = _read_documents(folder)
    recipe, prepared, chosen, metrics = (documents[name] for name in DOCUMENTS)
    try:
        recipe = from_json(recipe)
        if not isinstance(recipe, Recipe):
            raise RecipeError(f"it holds a {type(recipe).__name__}, not a Recipe")
    except (RecipeError, TypeError) as error:
        raise ModelFileError(f"{folder / 'recipe.json'} cannot be used: {error}") from error
    try:
        images = Images(
            str(folder),
            size=prepared["size"],
            fit=prepared["fit"],
            channels=prepared["channels"],
        )
        classes, positive = tuple(prepared["classes"]), prepared["positive"]
        if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
            raise RecipeError(f"classes must be at least two names, got {classes}")
        if positive is not None and positive not in classes:
            raise RecipeError(f"positive must be one of {classes}, got {positive!r}")
        if prepared["decoder"] != DECODER:
            raise RecipeError(
                f"its images were decoded by version {prepared['decoder']!r} of the rules, "
                f"this program has version {DECODER}: answers would differ"
            )
        interpolation = str(prepared.get("interpolation", "bilinear")).removesuffix(ANTIALIASED)
        if interpolation not in FILTERS:
            raise RecipeError(
                f"interpolation must be one of {', '.join(FILTERS)}, got {interpolation!r}"
            )
        normalised = {name: prepared[name] for name in ("mean", "std")}
    except (KeyError, TypeError, RecipeError) as error:
        raise ModelFileError(_unusable(folder / "preprocessing.json", error)) from error
    try:
        value, said, supported = chosen["value"], str(chosen["said"]), bool(chosen["supported"])
        if value is not None and not (len(classes) == 2 and 0.0 <= value <= 1.0):
            raise TypeError(f"value must be in [0, 1], or null for several classes, got {value!r}")
    except (KeyError, TypeError) as error:
        raise ModelFileError(_unusable(folder / "threshold.json", error)) from error
    marks = metrics.get(MARKS, [])
    if not isinstance(marks, list) or not all(isinstance(mark, str) for mark in marks):
        why = TypeError(f"{MARKS} must be a list of sentences, got {marks!r}")
        raise ModelFileError(_unusable(folder / "metrics.json", why))

    state, header = _read_state(folder / MODEL)
    calibration = None
    if header["format"] >= 2:
        calibration = _read_calibration(folder / CALIBRATION, classes=len(classes))
    try:
        net = assemble(
            recipe,
            classes=len(classes),
            size=images.size,
            channels=images.channels,
            seed=0,  # every value is replaced
            load_weights=False,
        )
    except RecipeError as error:
        raise ModelFileError(f"{folder / 'recipe.json'} cannot be built: {error}") from error
    _fill(net, state, folder)
    for name, values in normalised.items():
        there = getattr(net.normalise, name).flatten().tolist()
        if there != values:
            raise ModelFileError(
                f"{folder / 'preprocessing.json'} says {name} {values}, {MODEL} has {there}; "
                "export the model again."
            )
    return Exported(
        net=net.eval(),
        recipe=recipe,
        images=images,
        interpolation=interpolation,
        classes=classes,
        positive=positive,
        calibration=calibration,
        threshold=value,
        said=said,
        supported=supported,
        metrics={part: measured for part, measured in metrics.items() if part != MARKS},
        marks=tuple(marks),
        demo=bool(header["demo"]),
    )


def _read_documents(folder: Path) -> dict[str, Any]:
    needed = (MODEL, *DOCUMENTS)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        where = f"{folder} lacks {', '.join(missing)}" if folder.is_dir() else f"no folder {folder}"
        raise ModelFileError(f"{where}; an exported model has {', '.join(needed)}.")
    documents, damaged = {}, []
    for name in DOCUMENTS:
        try:
            documents[name] = json.loads((folder / name).read_text(encoding="utf-8"))
            if not isinstance(documents[name], dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError) as error:
            damaged.append(f"{folder / name} is damaged ({error})")
    if damaged:
        raise ModelFileError("; ".join(damaged) + "; export the model again.")
    return documents


def _read_calibration(path: Path, *, classes: int) -> Calibration | None:
    """Without it the threshold would be compared with other numbers than those it was chosen on."""
    if not path.is_file():
        raise ModelFileError(f"{path.parent} lacks {path.name}; export the model again.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["calibration"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}); export the model again.") from error
    if document is None:
        return None
    try:
        calibration = Calibration.from_json(document)
        if calibration.classes != classes:
            raise DataError(f"it is for {calibration.classes} classes, the model has {classes}.")
    except (DataError, TypeError) as error:
        raise ModelFileError(_unusable(path, error)) from error
    return calibration


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["xfer"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version, expected, _ = header["format"], header["digest"], header["demo"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is damaged ({type(error).__name__}: {error}); export the model again."
        ) from error
    if version not in range(1, FORMAT + 1):
        raise ModelFileError(f"{path} has format {version!r}, this version reads 1 to {FORMAT}.")
    if digest(state) != expected:
        raise ModelFileError(f"{path} is damaged (its digest does not match); export it again.")
    return state, header


def _fill(net: Net, state: Mapping[str, Tensor], folder: Path) -> None:
    """Loads a state of exactly this net: same names, shapes and types."""
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in net.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    wrong = sorted(name for name in wanted.keys() | found if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ModelFileError(
            f"{folder / MODEL} does not fit recipe.json: {len(wrong)} tensors differ, the first "
            f"is {name} (in the file: {found.get(name, 'missing')}, by the recipe: "
            f"{wanted.get(name, 'not there')})."
        )
    net.load_state_dict(dict(state), strict=True)


def _unusable(path: Path, error: Exception) -> str:
    said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{path} cannot be used: {said.removesuffix('.')}."


def beside(folder: Path, what: str) -> Path:
    """Where a folder is written (`writing`) and kept (`old`) while it is replaced."""
    return folder.with_name(f".{folder.name}.{what}")
