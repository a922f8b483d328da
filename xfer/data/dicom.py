"""Is a file DICOM, can it be read here, and whose image is it?

Reading takes the extra `dicom`, which is pydicom. Without it such files are refused and the extra
is named; `xfer.data.dicom_pixels` decodes them.

PatientID is the patient where the images have no pattern and no column for it. It appears in no
output: what stands there is `patient-` and 12 hexadecimal digits of its BLAKE2b digest, the same
for the same ID everywhere. That is a pseudonym and not anonymous: who has a list of IDs can find
the one behind it. Of 100,000 patients two share one with a probability of 2 in 100,000.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from xfer.data.items import Skipped

DICOM = "it is DICOM"
"""Why such a file is skipped where pydicom is missing; `refuse_dicom` finds it by this."""
DICOM_SUFFIXES = frozenset((".dcm", ".dicom"))
"""Endings that promise DICOM."""
EXTRA = (
    "the extra `dicom`, which reads it by pydicom 3.0 or newer, is not installed: run"
    " `uv sync --extra dicom` or `pip install pydicom`"
)
"""What is missing, and how to get it."""
_PREAMBLE, _MAGIC = 128, b"DICM"
"""Bytes before the magic word, and the word (DICOM PS3.10, 7.1)."""
_TRANSFER_SYNTAX, _PATIENT_ID = 0x00020010, 0x00100020
_MOST_READS = 50_000
"""Of a header, by `FewReads`; a single image's has some hundreds of elements."""
_DEFLATED = "1.2.840.10008.1.2.1.99"


def begins_as_dicom(raw: bytes) -> bool:
    """Whether a file's bytes have DICOM's magic word in its place."""
    return raw[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def is_dicom(path: Path) -> bool:
    """Whether a file is called DICOM or begins as one; a file that cannot be read does not."""
    return path.suffix.lower() in DICOM_SUFFIXES or _begins(path)


def can_read_dicom() -> bool:
    """Whether pydicom is installed, in a version that decodes pixels as this code asks for."""
    try:
        import pydicom.pixels  # noqa: F401  new in 3.0
    except ImportError:
        return False
    return True


def refuse_dicom(skipped: Sequence[Skipped]) -> list[str]:
    """The problem that there are DICOM files which cannot be read; nothing where there are none."""
    names = [skip.name for skip in skipped if skip.reason == DICOM]
    if not names:
        return []
    count = f"{names[0]} is" if len(names) == 1 else f"{len(names):,} files are"
    first = "" if len(names) == 1 else f" (the first is {names[0]})"
    return [
        f"{count} DICOM{first}, and {EXTRA}. Or export the images as PNG or TIFF (16 bits keep"
        " their depth), or move them out"
    ]


def patients_of(paths: Sequence[Path], names: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """Each image's patient by PatientID, or its own name; and what should be said about that.

    Only headers are read. Where most files are DICOM of one PatientID and none has another, that
    says nothing of patients (it is what some programs write in place of names), and no image is
    tied to another.

    Args:
        paths: of the images.
        names: theirs, for those that stand alone.

    Returns:
        None where no file is DICOM or none can be read, and sentences.
    """
    if not can_read_dicom():
        return None, []
    among = {i: _patient_id(path) for i, path in enumerate(paths) if _begins(path)}
    found = {i: identity for i, identity in among.items() if identity}
    if not among:
        return None, []
    if len(found) > max(1, len(paths) // 2) and len(set(found.values())) == 1:
        return None, [
            f"{len(found):,} of {len(among):,} DICOM files have the same PatientID, and no file has"
            " another: it is not used, and each image stands alone."
        ]
    notes = []
    if found:
        count = f"{len(found):,} DICOM file{'' if len(found) == 1 else 's'}"
        patients = len(set(found.values()))
        notes.append(
            f"Patients are taken from PatientID of {count}: {patients:,} patient"
            f"{'' if patients == 1 else 's'}."
        )
    if alone := len(among) - len(found):
        notes.append(
            f"{alone:,} of {len(among):,} DICOM files without a PatientID: each stands alone."
        )
    return [pseudonym(found[i]) if i in found else name for i, name in enumerate(names)], notes


def pseudonym(patient_id: str) -> str:
    """What stands in outputs in place of a PatientID.

    >>> pseudonym("4711")
    'patient-958abc2d44b6'
    """
    return f"patient-{hashlib.blake2b(patient_id.encode(), digest_size=6).hexdigest()}"


def check_header(file: BinaryIO) -> str:
    """The transfer syntax's UID, of a file that is read from its beginning and left there.

    Raises:
        ValueError: the whole file is deflated, which would be inflated without a limit; or it does
            not say how it is written.
    """
    from pydicom.filereader import read_dataset

    file.seek(_PREAMBLE + len(_MAGIC))
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    file.seek(0)
    # Every element is looked at: pydicom reads the group anew, in another way, where one fails.
    syntax = {int(element.tag): element.value for element in meta}.get(_TRANSFER_SYNTAX)
    if not isinstance(syntax, str) or not syntax:
        raise ValueError("the DICOM header names no transfer syntax")
    if syntax == _DEFLATED:
        raise ValueError(
            "DICOM that is deflated as a whole is not read: save it as Explicit VR Little Endian"
        )
    return syntax


class FewReads:
    """A file that can be read from so many times.

    pydicom builds objects for all that is in a sequence, wanted or not: 500,000 empty items, which
    are 8 MB, took 860 MB and 21 s. Each needs several reads.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MOST_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As the file's own; ValueError after too many."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("its header has too many elements")
        return self._file.read(size)


_quiet_lock = threading.Lock()
_quiet_stack: list[warnings.catch_warnings] = []
_quiet_count = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's warnings, about files that it then reads or refuses; for many threads."""
    global _quiet_count  # noqa: PLW0603  the interpreter has one list of filters, too
    with _quiet_lock:
        _quiet_count += 1
        if _quiet_count == 1:
            _quiet_stack.append(warnings.catch_warnings())
            _quiet_stack[0].__enter__()
            warnings.filterwarnings("ignore", module="pydicom")
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_count -= 1
            if _quiet_count == 0:
                _quiet_stack.pop().__exit__(None, None, None)


def _begins(path: Path) -> bool:
    try:
        if not path.is_file():  # a pipe would make the reader wait for ever
            return False
        with path.open("rb") as file:
            return begins_as_dicom(file.read(_PREAMBLE + len(_MAGIC)))
    except OSError:
        return False


def _patient_id(path: Path) -> str:
    """The ID; empty where there is none, or the file is damaged, which decoding will tell."""
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    try:
        with quiet(), path.open("rb") as opened:
            file = cast("BinaryIO", FewReads(opened))
            check_header(file)
            header = read_partial(
                file,
                stop_when=lambda tag, vr, length: tag > _PATIENT_ID,
                specific_tags=[Tag(_PATIENT_ID)],
            )
            return str(header.get("PatientID") or "").strip(" \0")
    except Exception:  # pydicom raises almost anything on damaged files
        return ""
