"""What does --strict refuse? Findings of the audit, but for those that are about size alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.messages import together
from xfer.errors import DataError

SIZE = ("small_validation", "imbalance")
"""More images would mend these, and often there are none; nothing in the data is wrong."""


def refuse_findings(audit: Mapping[str, Any], *, where: str, resume: str) -> None:
    """Ends a strict run that would train on faulty data.

    What was already taken out of a part is refused too: whoever is strict mends the data.

    Args:
        audit: content of audit.json.
        where: that file, for the message.
        resume: the command that goes on with the run.

    Raises:
        DataError: there are findings besides `SIZE`; all of them are named.
    """
    faults = [
        f"--strict: {finding['kind']}, {finding['count']:,}: {finding['effect']} "
        f"{finding['action']}".removesuffix(".")
        for finding in audit["findings"]
        if finding["kind"] not in SIZE
    ]
    if faults:
        raise DataError(
            f"{together(faults)}\nNothing was trained; {where} has examples. Mend the images and "
            f"go on with\n  {resume}\nor begin another run without --strict."
        )
