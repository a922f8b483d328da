"""How did each known configuration do, beside what a study reported of it?"""

from __future__ import annotations

from search.report.html import Html, element, joined, table
from search.report.reading import Reading
from search.studied import differences, heads, rows


def experiments(reading: Reading) -> Html | None:
    """The table of experiments; None where known configurations are none."""
    found = reading.result.get("experiments")
    if not found:
        return None
    said = (
        "Every configuration was trained to its end and asked about the test part in the winner's "
        "opening, after the winner was chosen on validation. The most probable class is the "
        "answer, without calibration or threshold, as in studies. Intervals are of 95 %, by "
        "patient, for one training each; the best of them looks better than it is. A study's own "
        "numbers are of its own test images."
    )
    return joined(
        [
            element("h2", "The experiments"),
            element("p", said, class_="soft"),
            table(heads(found), [[element("td", cell) for cell in row] for row in rows(found)]),
            *(element("p", line, class_="soft") for line in differences(found)),
        ]
    )
