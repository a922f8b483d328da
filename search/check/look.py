"""What is wrong with the images, once they have been read?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.check.inspection import Inspection
from search.images import load_images
from search.plan import Plan

if TYPE_CHECKING:
    from xfer.data.dataset import Loading
    from xfer.data.findings import Finding

NAMED = 200
"""Names printed with a finding: as many as somebody may mend by hand."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """The images, decoded, split and audited."""

    loading: Loading
    """How reading them went."""
    findings: tuple[Finding, ...]
    """The audit's."""
    notes: tuple[str, ...]
    """The audit's."""
    files: Mapping[str, Any]
    """The audit's statistics."""

    def lines(self, *, said: Collection[str] = ()) -> Iterator[str]:
        """What is printed: how the parts were made, and every finding with its names.

        Args:
            said: sentences that were printed before.
        """
        for line in (*self.loading.made, *self.loading.marks):
            if line not in said:
                yield f"note, now that the images are read: {line}"
        parts = ", ".join(
            f"{sum(counts.values()):,} {part}" for part, counts in self.loading.counts.items()
        )
        yield f"Splits, by images: {parts}."
        yield _files_said(self.files["all"])
        yield from self.notes
        if not self.findings:
            yield f"Audit of {self.loading.images:,} images: nothing was found."
            return
        count = len(self.findings)
        yield f"Audit of {self.loading.images:,} images: {count} finding{'s' * (count > 1)}."
        for finding in self.findings:
            yield f"{finding.kind}, {finding.count:,}: {finding.effect} {finding.action}"
            yield from (f"  {name}" for name in finding.examples[:NAMED])
            if (more := len(finding.examples) - NAMED) > 0:
                yield f"  and {more:,} more"


def look(plan: Plan, inspection: Inspection) -> Look:
    """Reads the images as a run of this plan would.

    Args:
        plan: what is asked for.
        inspection: of it; a space of which nothing can be built has its images read all the same.

    Raises:
        DataError: too many images are damaged, or a part would be without a class.
        StoreError: no room for the decoded images.
    """
    from xfer.data.audit import audit

    data, loading = load_images(plan, inspection.checked.interpolations or ("bilinear",))
    found = audit(data, loading, folds=plan.options.folds)
    return Look(loading=loading, findings=found.findings, notes=found.notes, files=found.files)


def _files_said(files: Mapping[str, Any]) -> str:
    """Sizes, formats and modes in a line."""
    parts = []
    if files["width"] and files["height"]:
        sides = [
            f"{files['width'][name]:,.0f} x {files['height'][name]:,.0f} {name}"
            for name in ("least", "median", "largest")
        ]
        parts.append(sides[1].removesuffix(" median") if files["sizes"] == 1 else ", ".join(sides))
    for name in ("formats", "modes"):
        counts = ", ".join(f"{count:,} {what}" for what, count in files[name].items())
        parts += [counts] if counts else []
    return f"Files: {'; '.join(parts) or 'none, the images are drawn'}."
