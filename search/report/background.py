"""On what, and how was it run? The data's counts and findings, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from search.amounts import duration
from search.report.html import Html, element, joined, table
from search.report.reading import Reading


def data(reading: Reading) -> Html:
    """Images per split and class, how the parts were made, and what the audit found."""
    audit = reading.audit
    splits = audit.get("splits") or {}
    findings = audit.get("findings")
    parts = [element("h2", "The data")]
    counts = reading.result.get("data")
    if isinstance(splits, Mapping) and splits:
        parts.append(_grid(splits))
    elif counts:
        parts.append(value_shown(counts))
    parts += [element("p", str(said)) for said in audit.get("made") or []]
    parts += [element("p", str(said), class_="soft") for said in audit.get("notes") or []]
    if audit.get("files"):
        title = element("summary", "Sizes, formats and modes of the files")
        parts.append(element("details", title, _files(audit["files"])))
    if findings:
        heads = ("found", "how often", "what it does to the result", "what was done", "examples")
        rows = [
            (
                str(finding.get("kind", "")).replace("_", " "),
                str(finding.get("count", "")),
                str(finding.get("effect", "")),
                str(finding.get("action", "")),
                ", ".join(str(example) for example in (finding.get("examples") or [])[:5]),
            )
            for finding in findings
        ]
        parts += [element("h3", "What the audit found"), table(heads, rows)]
    else:
        text = "The audit found nothing." if findings == [] else "There is no audit."
        parts.append(element("p", text))
    return joined(parts)


def how(reading: Reading) -> Html:
    """Times, counters and everything in the manifest."""
    result, parts = reading.result, [element("h2", "How it was run")]
    spent = {
        name: duration(value)
        for name, value in (result.get("seconds") or {}).items()
        if value is not None
    }
    counted = {k: v for k, v in (result.get("counters") or {}).items() if v is not None}
    states = {k: v for k, v in (result.get("trials") or {}).items() if v}
    for title, values in (("Trials", states), ("Time", spent), ("Counters", counted)):
        if values:
            parts += [element("h3", title), value_shown(values)]
    parts.append(
        element("details", element("summary", "Manifest"), value_shown(reading.manifest))
        if reading.manifest
        else element("p", "There is no manifest.")
    )
    return joined(parts)


def value_shown(value: Any) -> Html:
    """Any JSON value: objects as two columns, all else as text."""
    if isinstance(value, Mapping):
        rows = [(str(key).replace("_", " "), value_shown(item)) for key, item in value.items()]
        return table((), rows) if rows else element("span", "–")
    if isinstance(value, list):
        if any(isinstance(item, Mapping | list) for item in value):
            return element("pre", json.dumps(value, indent=1, ensure_ascii=False))
        return element("span", ", ".join(str(item) for item in value) or "–")
    return element("span", "–" if value is None else str(value))


def _files(files: Mapping[str, Any]) -> Html:
    """A row for all images and one per class: what `xfer.data.facts.statistics` gives."""
    rows = []
    for name, found in (("all", files["all"]), *files["classes"].items()):
        spread = [
            f"{found[side]['least']:,} to {found[side]['largest']:,}, "
            f"median {found[side]['median']:,g}"
            if found[side]
            else "–"
            for side in ("width", "height", "bytes")
        ]
        kinds = [
            ", ".join(f"{count:,} {kind}" for kind, count in found[what].items()) or "–"
            for what in ("formats", "modes")
        ]
        rows.append((name, f"{found['images']:,}", *spread, *kinds))
    return table(("class", "images", "width", "height", "bytes", "formats", "modes"), rows)


def _grid(splits: Mapping[str, Any]) -> Html:
    """A row per split; its numbers, one level deep, as columns."""
    flat = {name: _flat(values) for name, values in splits.items() if isinstance(values, Mapping)}
    columns = list(dict.fromkeys(column for values in flat.values() for column in values))
    rows = [
        (name, *(str(values.get(column, "")) for column in columns))
        for name, values in flat.items()
    ]
    rest = {name: value for name, value in splits.items() if name not in flat}
    grid = table(("part", *columns), rows)
    return joined([grid, value_shown(rest)]) if rest else grid


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            many = len(values) > 1
            flat |= {f"{key}: {k}" if many else str(k): _plain(v) for k, v in value.items()}
        elif isinstance(value, list):
            flat[key] = ", ".join(str(item) for item in value)
        else:
            flat[key] = value
    return flat


def _plain(value: Any) -> Any:
    """A mapping as words: `200 images, 180 patients`."""
    if not isinstance(value, Mapping):
        return value
    return ", ".join(f"{count:,} {name}" for name, count in value.items())
