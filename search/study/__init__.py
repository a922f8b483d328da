"""What is on record of a search? One Optuna study, written in the step in which things happen."""

from search.study.asked import Asked
from search.study.record import Record
from search.study.rows import read_rows
from search.study.storage import storage_told

__all__ = ["Asked", "Record", "read_rows", "storage_told"]
