"""Which trials may have changed since they were last looked at?"""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial


class Changing:
    """Passes over what had ended by the last look: it stays as it is.

    What is made of trials and kept is brought up to date by it: that costs as much as there are
    trials in flight, and not as there are in the study. It begins with all of them, so that a run
    that goes on keeps what an undisturbed one would.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()  # numbers of those that had not ended
        self._next = 0

    def since(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those that are new, or had not ended when this was last called, by number.

        Args:
            trials: all of one study, by number.
        """
        numbers = [*sorted(self._open), *range(self._next, len(trials))]
        found = [trials[number] for number in numbers]
        self._open = {trial.number for trial in found if not trial.state.is_finished()}
        self._next = len(trials)
        return found
