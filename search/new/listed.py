"""What does a place of images hold, whatever may be wrong with it? For guesses from its names."""

from __future__ import annotations

from pathlib import Path

from xfer.data.arrays import list_npz
from xfer.data.builtin import PREFIX, list_builtin
from xfer.data.folders import list_folder
from xfer.data.items import Listing
from xfer.data.remote import fetched, is_url
from xfer.data.tables import list_table
from xfer.errors import DataError
from xfer.recipe import Table


def list_images(place: str | Table) -> Listing | None:
    """The images of a place, before anything is asked of them.

    Returns:
        None where there is nothing that can be listed; `open_source` says why.
    """
    try:
        return _list(place)
    except (DataError, OSError):
        return None


def searched(listing: Listing) -> list[str]:
    """Of each image the text in which `Images.patient` is searched; none where there are no names.

    Args:
        listing: of the images.
    """
    if not listing.has_file_names:
        return []
    return list(listing.searched or [name.rpartition("/")[2] for name in listing.names])


def _list(place: str | Table) -> Listing | None:
    if isinstance(place, Table):
        # Who the patients are is the table's own column's matter; of a URL, `open_source`'s.
        return None if is_url(place.file) else list_table(place)
    if place.startswith(PREFIX):
        return list_builtin(place, seed=0)
    path = fetched(place) if is_url(place) else Path(place).expanduser().absolute()
    if path.is_dir():
        return list_folder(path)
    return list_npz(path) if path.is_file() and path.suffix.lower() == ".npz" else None
