"""Where does the page go? Into the run's folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from search.report.page import page
from search.report.reading import read_run
from search.rundir import open_run


def write_report(run_folder: str | Path) -> Path:
    """Writes report.html from what is on disk, also of a run that is not finished.

    Returns:
        The page's path.

    Raises:
        RunError: the folder is no run's, or cannot be written.
    """
    run = open_run(run_folder)
    run.write_text(run.report, str(page(read_run(run))))
    return run.report
