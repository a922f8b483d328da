"""How is it told what is wrong? All of it together, with the word that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def near(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the closest allowed word; empty where none is close.

    >>> near("unfreeze_dept", ["unfreeze_depth", "lr"])
    "; did you mean 'unfreeze_depth'?"
    """
    found = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def together(problems: Sequence[str]) -> str:
    """One message of several problems: a line for each, counted; one alone is one sentence.

    >>> print(together(["--trials is wrong", "--epochs is wrong"]))
    2 problems:
      --trials is wrong
      --epochs is wrong
    """
    if len(problems) == 1:
        return problems[0] + ("" if problems[0].endswith("?") else ".")
    return f"{len(problems)} problems:\n" + "\n".join(f"  {problem}" for problem in problems)
