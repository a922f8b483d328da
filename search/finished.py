"""What came of a search?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.trials import TrialRow


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of a search."""

    best: TrialRow
    """The winner."""
    threshold: Mapping[str, Any] | None
    """`value`, `chosen_on`, `rule`, `supported`, `said`; None with several classes."""
    test: Mapping[str, Any] | None
    """As `search.result.with_intervals` gives it; None: the test part stays closed."""
    controls: Mapping[str, Any] | None
    """By name, the same of what the winner has to beat, and by how much it does (`difference`, as
    `search.scores.compare` gives it); None: likewise."""
    corrected: Mapping[str, Any] | None
    """The best search score without the luck of the choice, as `search.corrected` gives it."""
    experiments: Mapping[str, Any] | None
    """By number of a trial, metrics of known configurations, as `search.experiments` gives them;
    empty where they are none, None: the test part stays closed."""
    ensemble: Mapping[str, Any] | None
    """Of the best finalists' mean answer: as a control's, and its `trials`; None: there is none."""
    finalists: Sequence[Mapping[str, Any]] | None
    """As `search.refits.Final.to_json` gives them; None: nothing was trained again."""
    opened: int
    """How often the test part has been opened in this run."""
    marks: tuple[str, ...]
    """What a reader has to know before believing the rest."""
    val: Mapping[str, Any]
    """As `test`, of the images that its threshold was chosen on."""
    val_part: str
    """What these are: `val`, or `folds` where fold models answered."""
    front: Sequence[Mapping[str, Any]] | None
    """As `search.front.front_json` gives it; None: one objective."""
