"""Which images lie in a folder tree, in which class and split?

Two layouts: class folders, or `train`, `val` and `test` folders over class folders. Images may lie
deeper in a class folder. What begins with a dot and what macOS and Windows leave behind is passed
over in silence; other files that are no images are told, by content and not by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from xfer.data.decode import SUFFIXES, looks_like_image, read_image_file
from xfer.data.dicom import (
    DICOM,
    DICOM_SUFFIXES,
    can_read_dicom,
    is_dicom,
    patients_of,
    refuse_dicom,
)
from xfer.data.items import SPLITS, Listing, Skipped, Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Spellings of the parts, in small letters."""
_CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}
_EXAMPLE = "ROOT/CLASS/image.jpg, or ROOT/train/CLASS/image.jpg beside ROOT/val and ROOT/test"


def list_folder(root: Path, *, patient_ids: bool = True) -> Listing:
    """The images below a folder; what is wrong with the tree stands in `problems`.

    Args:
        root: the folder.
        patient_ids: whether the patients of DICOM files are looked up in them.
    """
    notes: list[str] = []
    root, children = _top(root, notes)
    parts, problems = _split_folders(root, children)
    beside = [child.name for child in children if None not in parts and child not in parts.values()]
    if beside:
        notes.append(f"Left out, beside the train folder: {', '.join(map(_text, beside))}.")
    files: list[tuple[Path, Path, Split | None]] = []
    skipped: list[Skipped] = []
    classes_of: dict[Split | None, set[str]] = {}
    for split, folder in parts.items():
        where = f"{folder}" if split is None else f"{split} folder {folder}"
        class_folders = children if split is None else _folders(folder)
        classes_of[split] = {_text(child.name) for child in class_folders}
        if not class_folders:
            loose = "; it has images, but outside of class folders" if _has_images(folder) else ""
            problems.append(f"{where} has no class folders{loose}. What fits: {_EXAMPLE}")
        for child in class_folders:
            before = len(files)
            for path in _files(child):
                reason = no_image(path)
                if reason is None:
                    files.append((path, child, split))
                else:
                    name = _text(path.relative_to(root).as_posix())
                    skipped.append(Skipped(name=name, kind="not_image", reason=reason))
            if len(files) == before:
                problems.append(
                    f"class folder {_text(str(child))} has no images: put some in, or delete it"
                )
    problems = [*refuse_dicom(skipped), *problems, *_differing(classes_of)]
    paths = [path for path, _, _ in files]
    names = [_text(path.relative_to(root).as_posix()) for path in paths]
    patients, said = patients_of(paths, names) if patient_ids and not problems else (None, [])
    return Listing(
        name=_text(str(root)),
        names=names,
        classes=[_text(folder.name) for _, folder, _ in files],
        splits=[split for _, _, split in files],
        patients=patients,
        has_file_names=True,
        read=lambda i: read_image_file(paths[i]),
        digest=None,
        searched=[_text(path.relative_to(folder).as_posix()) for path, folder, _ in files],
        skipped=skipped,
        notes=[*notes, *said],
        problems=problems,
    )


def _top(root: Path, notes: list[str]) -> tuple[Path, list[Path]]:
    """The folder that has class or split folders, where the one named has a single folder in it."""
    children = _folders(root)
    if len(children) == 1 and children[0].name.casefold() not in SPLIT_NAMES:
        inner = _folders(children[0])
        if len(inner) >= 2 or any(child.name.casefold() in SPLIT_NAMES for child in inner):
            notes.append(f"The images are one folder deeper: {_text(str(children[0]))}.")
            return children[0], inner
    return root, children


def _split_folders(root: Path, children: list[Path]) -> tuple[dict[Split | None, Path], list[str]]:
    """Folders by split, or the root itself under None."""
    found: dict[Split | None, Path] = {}
    problems = []
    for child in children:
        split = SPLIT_NAMES.get(child.name.casefold())
        if split in found:
            problems.append(f"{root} has two {split} folders: {found[split].name}, {child.name}")
        elif split is not None:
            found[split] = child
    if not found:
        return {None: root}, problems
    if "train" not in found:
        there = ", ".join(sorted(path.name for path in found.values()))
        problems.append(f"{root} has {there} but no train folder; training needs one")
    return {split: found[split] for split in SPLITS if split in found}, problems


def _differing(classes_of: dict[Split | None, set[str]]) -> list[str]:
    everywhere = set().union(*classes_of.values())
    return [
        f"the {split} folder has no class {name!r}; it has {', '.join(map(repr, sorted(names)))}"
        for split, names in classes_of.items()
        for name in sorted(everywhere - names)
        if names
    ]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _clutter(path.name))


def _files(folder: Path) -> Iterator[Path]:
    """Files below a class folder, sorted. Links are followed, into each folder once.

    A link to a folder above, or beside it in the same tree, is not: its images have their class
    there, and would get this one too.
    """
    seen: set[tuple[int, int]] = set()
    for path, inner, names in os.walk(folder, followlinks=True, onerror=_raise):
        status = Path(path).stat()
        if (status.st_dev, status.st_ino) in seen:
            inner.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inner[:] = sorted(
            name for name in inner if not _clutter(name) and not _leaves(Path(path, name), folder)
        )
        yield from (Path(path, name) for name in sorted(names) if not _clutter(name))


def _leaves(path: Path, folder: Path) -> bool:
    """Whether a folder is a link from `folder` to what is above it or beside it."""
    if not path.is_symlink():
        return False
    here, there = folder.resolve(), path.resolve()
    beside = there.is_relative_to(here.parent) and not there.is_relative_to(here)
    return beside or here.is_relative_to(there)


def no_image(path: Path) -> str | None:
    """Why a file is none, or None. One that is named like an image is judged when it is decoded."""
    ending = path.suffix.lower()
    if ending in SUFFIXES and ending not in DICOM_SUFFIXES:
        return None
    if not path.is_file():  # a pipe would make the reader wait for ever
        return "not a regular file"
    if is_dicom(path):
        return None if can_read_dicom() else DICOM
    return None if looks_like_image(path) else "its content is none"


def _raise(error: OSError) -> None:
    raise error  # os.walk would pass over a folder that cannot be listed


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _clutter(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _CLUTTER


def _text(name: str) -> str:
    """A name that can be written anywhere, whatever bytes the file system allowed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
