"""What does --strict refuse? Findings of the audit, but for those that are about size alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from search.messages import together
from xfer.errors import DataError

if TYPE_CHECKING:
    from xfer.data.findings import Finding


def faults(findings: Iterable[Finding]) -> list[str]:
    """What a strict run refuses, a sentence or two each.

    What was already taken out of a part is refused too: whoever is strict mends the data.
    """
    return [
        f"--strict: {finding.kind}, {finding.count:,}: {finding.effect} "
        f"{finding.action}".removesuffix(".")
        for finding in findings
        if finding.refused
    ]


def refuse_findings(findings: Iterable[Finding], *, where: str, resume: str) -> None:
    """Ends a strict run that would train on faulty data.

    Args:
        findings: the audit's.
        where: its file, for the message.
        resume: the command that goes on with the run.

    Raises:
        DataError: there are findings that it refuses; all of them are named.
    """
    if found := faults(findings):
        raise DataError(
            f"{together(found)}\nNothing was trained; {where} has examples. Mend the images and "
            f"go on with\n  {resume}\nor begin another run without --strict."
        )
