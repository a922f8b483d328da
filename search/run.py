"""Runs a search.

    python -m search.run spaces/pneumonia.py

Exit codes: 0 done; 2 what was given is wrong; 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn


def main(argv: Sequence[str]) -> int:
    """Runs what a command line asks for; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        _end_quietly()
        print("Interrupted before anything was begun.", file=sys.stderr)
        return 130


def _run(argv: Sequence[str]) -> int:
    # Here, and not above: Ctrl-C during these seconds of imports is an interruption like any other.
    from search.errors import SearchError, StudyError, TrialsError
    from search.options import parse
    from search.session import Interrupted, search
    from xfer.errors import NotFinite, StoreError, XferError

    try:
        search(parse(argv), argv=argv, say=_say)
    except (TrialsError, StudyError, StoreError, NotFinite) as error:
        print(error, file=sys.stderr)
        return 1
    except (SearchError, XferError) as error:
        print(error, file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        _end_quietly()
        print(f"Interrupted; nothing is lost. To go on:\n  {interrupted}", file=sys.stderr)
        return 130
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Ends as Ctrl-C does: batch systems and `docker stop` send SIGTERM."""
    raise KeyboardInterrupt


def _end_quietly() -> None:
    """A second Ctrl-C, while the first is answered, changes nothing any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
