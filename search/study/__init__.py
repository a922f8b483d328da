"""What is on record of a search? One Optuna study, written in the step in which things happen."""

from optuna.pruners import NopPruner

from search.study.asked import Asked
from search.study.record import Record
from search.study.rows import read_rows
from search.study.storage import storage_told

NEVER = NopPruner()
"""Stops no trial."""

__all__ = ["NEVER", "Asked", "Record", "read_rows", "storage_told"]
