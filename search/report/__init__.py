"""What do people read of a run? One page, made of what is on disk: report.html.

    python -m search.report RUN

The page stands alone: no network, no other file. Nothing on it is computed from test images; the
test table is copied from result.json.
"""

from search.report.page import page
from search.report.reading import Reading, read_run
from search.report.writing import write_report

__all__ = ["Reading", "page", "read_run", "write_report"]
