"""DICOM files for tests; pydicom, which makes them, is asked for only then."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
"""Transfer syntaxes, little endian."""


def dataset(values: np.ndarray, *, bits: int | None = None, syntax=EXPLICIT, **tags) -> Dataset:
    """A data set of (rows, columns) or (rows, columns, 3); a tag that is None is taken out."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import generate_uid

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.Modality = "DX"
    made.PatientID = "4711"
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    made.BitsAllocated = 8 * values.dtype.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    raw = values.tobytes()
    made.PixelData = raw + b"\0" * (len(raw) % 2)
    made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    for tag, value in tags.items():
        if value is None:
            delattr(made, tag)
        else:
            setattr(made, tag, value)
    return made


def saved(made: Dataset) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom(values: np.ndarray, **asked) -> bytes:
    """`dataset` as a file's bytes."""
    return saved(dataset(values, **asked))


def lookup_table(entries: list[int], *, first: int, depth: int) -> list[Dataset]:
    """A sequence of one table, for `ModalityLUTSequence` or `VOILUTSequence`."""
    from pydicom import Dataset

    item = Dataset()
    item.LUTDescriptor = [len(entries), first, depth]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = np.array(entries, np.uint16).tobytes()
    item["LUTData"].VR = "OW"
    item.ModalityLUTType = "US"
    return [item]
