"""How is the page put together? Outcome first, then the search, the data, and how it was run."""

from __future__ import annotations

from search.report.background import data, how
from search.report.experiments import experiments
from search.report.finalists import finalists, front
from search.report.html import Html, element, joined
from search.report.look import SCRIPT, STYLE
from search.report.outcome import head, threshold, winner
from search.report.reading import Reading
from search.report.search import all_trials, best_curves, what_mattered
from search.report.tested import final_table

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser loads nothing from anywhere, even if a name in the data managed to look like it."""


def page(reading: Reading) -> Html:
    """The whole page: one file, light and dark, for a phone and for a desk."""
    sections = (
        head(reading),
        final_table(reading),
        experiments(reading),
        threshold(reading),
        winner(reading),
        finalists(reading),
        front(reading),
        best_curves(reading),
        what_mattered(reading),
        all_trials(reading),
        data(reading),
        how(reading),
    )
    markup = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("title", reading.name),
            element("style", Html(STYLE)),
        ),
        element("body", *sections, element("script", Html(SCRIPT))),
        lang="en",
    )
    return joined([Html("<!doctype html>\n"), markup, Html("\n")])
