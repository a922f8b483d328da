"""What did a run reach on its test part, in the terms that papers use? Rows of docs/published.md.

python -m benchmarks.published runs/pneumoniamnist [RUN ...]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COLUMNS = {
    "AUROC": "auroc",
    "accuracy at .5": "accuracy_at_0.5",
    "recall": "recall",
    "specificity": "specificity",
}


def row(folder: Path) -> str:
    """A row in Markdown: the run, its winner, each metric with its 95 % interval.

    Args:
        folder: of a finished run with a positive class.
    """
    result = json.loads((folder / "result.json").read_text())
    best, test = result["best"], result["test"]
    missed, alarms = test["confusion"]["fn"], test["confusion"]["fp"]
    sick, well = missed + test["confusion"]["tp"], alarms + test["confusion"]["tn"]
    cells = [
        folder.name,
        str(best["params"].get("model", "")),
        *(_cell(test[name]) for name in COLUMNS.values()),
        f"{missed} of {sick}, {alarms} of {well}",
        str(result["opened"]),
    ]
    return "| " + " | ".join(cells) + " |"


def heads() -> str:
    """The two lines above the rows."""
    names = ["run", "winner", *COLUMNS, "missed, false alarms", "test opened"]
    return "| " + " | ".join(names) + " |\n" + "| --- " * len(names) + "|"


def _cell(metric: Mapping[str, Any]) -> str:
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


if __name__ == "__main__":
    print(heads())
    for name in sys.argv[1:]:
        print(row(Path(name)))
