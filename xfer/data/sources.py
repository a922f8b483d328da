"""Where are the images, which classes do they have, and who is the patient?

`open_source` lists a folder tree, an `.npz`, a table or something built in, without decoding
anything, and tells all that is wrong with it at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from xfer.chunks import blake2b
from xfer.data.arrays import list_npz
from xfer.data.builtin import PREFIX, list_builtin
from xfer.data.folders import list_folder
from xfer.data.items import Item, Listing, Skipped, Source
from xfer.data.remote import fetched, is_url
from xfer.data.tables import list_table
from xfer.errors import DataError
from xfer.recipe import Images, Table

__all__ = ["Item", "Skipped", "Source", "open_source"]

_TABLES = (".csv", ".parquet", ".pq", ".tsv")
"""Endings of files that a `Table` names; any other will do there, too."""


def open_source(images: Images, *, seed: int = 0) -> Source:
    """Lists the images.

    Args:
        images: where they are and what is asked of them.
        seed: of built-in images that are drawn.

    Raises:
        DataError: nothing there, a layout that does not fit, fewer than two classes, a class or
            split without images, classes that differ between splits, no or an unknown positive
            class; all in one message.
    """
    listing = _list(images.path, seed, patient_ids=images.patient is None)
    classes = tuple(sorted(set(listing.classes)))
    if all(name.isdecimal() for name in classes):
        classes = tuple(sorted(classes, key=int))
    problems = list(listing.problems)
    notes = list(listing.notes)
    if len(classes) == 1:
        problems.append(f"there is one class, {classes[0]!r}; at least two are needed")
    problems += _spelt_alike(classes)
    positive = None
    if images.positive is not None and classes:
        positive = _find_class(images.positive, classes)
        if positive is None:
            problems.append(_unknown_class(images.positive, classes))
        elif classes[positive] != images.positive:
            notes.append(f"Positive is {classes[positive]!r}, asked for as {images.positive!r}.")
    elif len(classes) == 2:
        problems.append(
            f"there are two classes, {classes[0]!r} and {classes[1]!r}: say which one must not be"
            f" missed, with positive=... in the space or --positive {_quoted(classes[1])}"
        )
    if problems:
        start = f"{listing.name} cannot be used: " if len(problems) > 1 else ""
        raise DataError(start + "; ".join(problems) + ".")

    patients, unmatched = _patients(listing, images.patient)
    if unmatched:  # those whose names say nothing may be DICOM, whose tags do
        tagged = _list(images.path, seed, patient_ids=True)
        if tagged.patients is not None:
            notes += [note for note in tagged.notes if note not in notes]
            patients, unmatched = _patients(tagged, images.patient)
    count = len(listing.names)
    if unmatched == count:
        notes.append("No file name matches `patient`: each image counts as a patient of its own.")
    elif unmatched:
        notes.append(
            f"{unmatched:,} of {count:,} file names do not match `patient`: these images stand"
            " alone."
        )
    if images.patient is not None and not listing.has_file_names:
        notes.append(f"{listing.name} has no file names for `patient`: each image stands alone.")
    number = {name: label for label, name in enumerate(classes)}
    subgroups = listing.subgroups or _matches(listing, images.subgroup)
    return Source(
        name=listing.name,
        items=tuple(
            Item(name=name, label=number[label], split=split, patient=patient, subgroup=subgroup)
            for name, label, split, patient, subgroup in zip(
                listing.names, listing.classes, listing.splits, patients, subgroups, strict=True
            )
        ),
        classes=classes,
        positive=positive,
        skipped=tuple(listing.skipped),
        notes=tuple(notes),
        unmatched=unmatched,
        read=listing.read,
        digest=listing.digest or _digest_of(listing.read),
    )


def _fetched(path: str | Table) -> str | Table:
    """The same on this machine; files in a table are relative to its folder, which comes whole."""
    if not isinstance(path, Table):
        return str(fetched(path))
    folder, _, file = path.file.rpartition("/")
    root = path.root if path.root is None or not is_url(path.root) else str(fetched(path.root))
    return replace(path, file=str(fetched(folder) / file), root=root)


def _list(path: str | Table, seed: int, *, patient_ids: bool) -> Listing:
    asked = path.file if isinstance(path, Table) else path
    if is_url(asked):
        here = _list(_fetched(path), seed, patient_ids=patient_ids)
        return replace(here, name=asked)
    if isinstance(path, Table):
        file = Path(path.file).expanduser().absolute()
        if file.is_file():
            return list_table(path, patient_ids=patient_ids)
        if file.is_dir():
            raise DataError(f"{file} is a folder; Table(...) needs a CSV or Parquet file.")
        raise DataError(f"no table at {file}: there is no such file.{_near(file)}")
    if path.startswith(PREFIX):
        return list_builtin(path, seed=seed)
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        try:
            return list_folder(place, patient_ids=patient_ids)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be listed: {error.strerror}.") from None
    if place.is_file() and place.suffix.lower() == ".npz":
        return list_npz(place)
    if place.is_file() and place.suffix.lower() in _TABLES:
        raise DataError(
            f"{place} is a table: say in the space which columns it has, with"
            f' Images(Table("{place.name}", path=..., label=...)).'
        )
    if place.exists():
        raise DataError(
            f"{place} is a file; images are a folder of class folders, or an .npz. Unpack it first."
        )
    raise DataError(
        f"no images at {place}: there is no such folder or file.{_near(place)} Give a folder of"
        " class folders or an .npz, with --data PATH or in the space."
    )


def _near(place: Path) -> str:
    """What of the same folder may have been meant."""
    try:
        names = [path.name for path in place.parent.iterdir()]
    except OSError:
        return ""
    near = get_close_matches(place.name, names, n=1)
    return f" Did you mean {place.parent / near[0]}?" if near else ""


def _find_class(wanted: str, classes: Sequence[str]) -> int | None:
    """The class with that name, else the only one with it in other letters."""
    if wanted in classes:
        return classes.index(wanted)
    alike = [i for i, name in enumerate(classes) if name.casefold() == wanted.casefold()]
    return alike[0] if len(alike) == 1 else None


def _spelt_alike(classes: Sequence[str]) -> list[str]:
    """Names that differ only in capital letters: of one class, mostly, that is spelt twice."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(name.casefold(), []).append(name)
    return [
        f"classes {' and '.join(map(repr, names))} differ only in capital letters: give them one"
        " name if they are one class, else names that differ in more"
        for names in alike.values()
        if len(names) > 1
    ]


def _unknown_class(wanted: str, classes: Sequence[str]) -> str:
    by_folded = {name.casefold(): name for name in classes}
    near = get_close_matches(wanted.casefold(), by_folded, n=1)
    hint = f"; did you mean {by_folded[near[0]]!r}?" if near else "."
    return f"positive {wanted!r} is not a class{hint} There are {', '.join(map(repr, classes))}"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"'


def _matches(listing: Listing, pattern: str | None) -> list[str | None]:
    """What the pattern's group, or all of it, matches in each file's path or own name."""
    if pattern is None or not listing.has_file_names:
        return [None] * len(listing.names)
    search = re.compile(pattern).search
    texts = listing.searched or [name.rpartition("/")[2] for name in listing.names]
    found = [search(text) for text in texts]
    return [match and (match[1] if match.re.groups else match[0]) for match in found]


def _patients(listing: Listing, pattern: str | None) -> tuple[list[str], int]:
    """Each image's patient, and how many stand alone because the pattern was not found.

    Where it is not found, the place's own patient counts, if it knows one.
    """
    own = list(listing.patients or listing.names)
    if pattern is None or not listing.has_file_names:
        return own, 0
    found = _matches(listing, pattern)
    alone = sum(
        not match and patient == name
        for match, patient, name in zip(found, own, listing.names, strict=True)
    )
    return [match or patient for match, patient in zip(found, own, strict=True)], alone


def _digest_of(read: Callable[[int], bytes | np.ndarray]) -> Callable[[int], str]:
    def digest(i: int) -> str:
        raw = read(i)
        if isinstance(raw, bytes):
            return blake2b(raw)
        head = f"{raw.dtype.str} {raw.shape} ".encode()
        return blake2b(head, np.ascontiguousarray(raw).tobytes())

    return digest
