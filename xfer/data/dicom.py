"""Is a file DICOM, and what is said of such files?

None is read yet: values need the window and the sense of gray that stand in the file's tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xfer.data.items import Skipped

DICOM = "it is DICOM"
"""Why such a file is skipped; `refuse_dicom` finds it by this."""
_PREAMBLE, _MAGIC = 128, b"DICM"
"""Bytes before the magic word, and the word (DICOM PS3.10, 7.1)."""


def is_dicom(path: Path) -> bool:
    """Whether a file is called DICOM or begins as one; a file that cannot be read does not."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def refuse_dicom(skipped: Sequence[Skipped]) -> list[str]:
    """The problem that there are DICOM files; nothing where there are none."""
    names = [skip.name for skip in skipped if skip.reason == DICOM]
    if not names:
        return []
    count = f"{names[0]} is" if len(names) == 1 else f"{len(names):,} files are"
    first = "" if len(names) == 1 else f" (the first is {names[0]})"
    return [
        f"{count} DICOM{first}, and the extra `dicom` that will read it, by pydicom, is not built"
        " yet: export the images as PNG or TIFF (16 bits keep their depth), or move them out"
    ]
