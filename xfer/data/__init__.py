"""Images in: sources, decoding, splits, and the dataset that workers get."""

from xfer.data.dataset import Dataset, Loading, load_dataset
from xfer.data.decode import DecodeError, decode_image
from xfer.data.items import Item, Skipped, Source
from xfer.data.sources import open_source
from xfer.data.splits import Splits, split_items

__all__ = [
    "Dataset", "DecodeError", "Item", "Loading", "Skipped", "Source", "Splits",
    "decode_image", "load_dataset", "open_source", "split_items",
]  # fmt: skip
