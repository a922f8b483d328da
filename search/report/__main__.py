"""Writes a run's report.html again, from what is on disk.

python -m search.report RUN
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from search.errors import SearchError
from search.report.writing import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 2 for a folder that is no run's."""
    parser = argparse.ArgumentParser(
        prog="python -m search.report", description="Write a run's report.html again."
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder: runs/pneumonia")
    try:
        print(write_report(parser.parse_args(argv).run))
    except SearchError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
