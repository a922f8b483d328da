"""How do numbers become pictures? Curves over epochs, dots over a hyperparameter or a cost: SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from search.amounts import setting
from search.report.html import Html, element, joined


@dataclass(frozen=True)
class _Axis:
    """Values on a stretch of the picture, in its units."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 1)


def curves(series: Sequence[tuple[str, Mapping[int, float]]], *, name: str) -> Html | None:
    """Lines over epochs, at most five, with a key below; None where there is no point to draw.

    Args:
        series: label, then value by epoch; values that are not finite interrupt nothing, they
            are left out.
        name: what the values are, for readers of the picture's title.
    """
    drawn = [
        (label, {epoch: value for epoch, value in points.items() if isfinite(value)})
        for label, points in series
    ]
    values = [value for _, points in drawn for value in points.values()]
    if not values:
        return None
    epochs = [epoch for _, points in drawn for epoch in points]
    width, height = 640, 260
    across = _Axis(min(epochs), max(epochs), 48, width - 12)
    up = _Axis(*_padded(values), height - 28, 10)
    lines = []
    for i, (label, points) in enumerate(drawn):
        places = [(across.place(e), up.place(v)) for e, v in sorted(points.items())]
        line = " ".join(f"{x},{y}" for x, y in places)
        lines.append(element("polyline", points=line, class_=f"curve s{i}"))
        lines += [
            element(
                "g",
                element("title", f"{label}, epoch {epoch}: {value:.4g}"),
                element("circle", cx=x, cy=y, r=3, class_=f"curve s{i}"),
            )
            for (epoch, value), (x, y) in zip(sorted(points.items()), places, strict=True)
        ]
    picture = _picture(
        width,
        height,
        f"{name} by epoch",
        _rules(up, width),
        *(
            element("text", str(epoch), x=across.place(epoch), y=height - 10, text_anchor="middle")
            for epoch in _whole_ticks(min(epochs), max(epochs))
        ),
        *lines,
    )
    key = joined(element("span", "● ", label, class_=f"k{i}") for i, (label, _) in enumerate(drawn))
    return element("figure", picture, element("figcaption", key, class_="key"))


def scatter(
    points: Sequence[tuple[float | str, float]],
    *,
    best: int | None,
    name: str,
    caption: str,
) -> Html:
    """Scores over one hyperparameter; the axis is logarithmic where values span a factor of 50.

    Args:
        points: the hyperparameter's value and the score of each trial, at least one.
        best: index of the point that is marked.
        name: the hyperparameter's.
        caption: said below.
    """
    width, height = 260, 170
    up = _Axis(*_padded([score for _, score in points]), height - 26, 8)
    numbers = [value for value, _ in points if not isinstance(value, str)]
    if len(numbers) == len(points):
        low, high = min(numbers), max(numbers)
        by_log = low > 0 and high / low >= 50
        scale = log10 if by_log else float
        across = _Axis(scale(low), scale(high), 50, width - 16)
        places = [across.place(scale(value)) for value in numbers]
        ticks = [(across.place(scale(value)), setting(float(value))) for value in {low, high}]
    else:
        names = sorted({str(value) for value, _ in points})
        across = _Axis(-0.5, len(names) - 0.5, 44, width - 6)
        # Side by side instead of on top of each other: by turns a little left and right.
        places = [
            across.place(names.index(str(value)) + (i % 5 - 2) * 0.09)
            for i, (value, _) in enumerate(points)
        ]
        room = max(3, 34 // len(names))
        ticks = [
            (across.place(i), text if len(text) <= room else text[: room - 1] + "…")
            for i, text in enumerate(names)
        ]
    order = sorted(range(len(points)), key=lambda i: i == best)  # the marked one on top
    dots = [
        element(
            "g",
            element("title", f"{setting(points[i][0])}: {points[i][1]:.4g}"),
            element(
                "circle",
                cx=places[i],
                cy=up.place(points[i][1]),
                r=4,
                class_="dot top" if i == best else "dot",
            ),
        )
        for i in order
    ]
    picture = _picture(
        width,
        height,
        f"score against {name}",
        _rules(up, width),
        *(
            element("text", text, x=x, y=height - 8, text_anchor="middle")
            for x, text in sorted(ticks)
        ),
        *dots,
    )
    return element(
        "figure",
        picture,
        element("figcaption", element("b", name), " ", element("span", caption, class_="soft")),
    )


def front(
    points: Sequence[tuple[float, float, str]],
    *,
    best: int | None,
    name: str,
    shown: Callable[[float], str],
) -> Html:
    """Scores over costs, neighbours joined; the axis is logarithmic from a factor of 50 on.

    Args:
        points: cost, score and label of each, by cost; at least one.
        best: index of the point that is marked.
        name: what the cost is.
        shown: a cost for people.
    """
    width, height = 640, 260
    costs = [cost for cost, _, _ in points]
    low, high = min(costs), max(costs)
    scale = log10 if low > 0 and high / low >= 50 else float
    across = _Axis(scale(low), scale(high), 70, width - 40)
    up = _Axis(*_padded([score for _, score, _ in points]), height - 28, 18)
    places = [(across.place(scale(cost)), up.place(score)) for cost, score, _ in points]
    dots = [
        element(
            "g",
            element("title", f"trial {label}: {score:.4g} at {shown(cost)} {name}"),
            element("circle", cx=x, cy=y, r=5, class_="dot top" if i == best else "dot"),
            # Left of the point: a front rises to the right.
            element("text", label, x=x - 8, y=y - 5, text_anchor="end"),
        )
        for i, ((cost, score, label), (x, y)) in enumerate(zip(points, places, strict=True))
    ]
    picture = _picture(
        width,
        height,
        f"search score against {name}",
        _rules(up, width),
        *(
            element(
                "text", shown(cost), x=across.place(scale(cost)), y=height - 10,
                text_anchor="middle",
            )
            for cost in sorted({low, high})
        ),
        element("polyline", points=" ".join(f"{x},{y}" for x, y in places), class_="curve s0"),
        *dots,
    )  # fmt: skip
    return element("figure", picture, element("figcaption", name, class_="soft"))


def _picture(width: int, height: int, title: str, *parts: Html) -> Html:
    return element(
        "svg",
        element("title", title),
        *parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
    )


def _rules(up: _Axis, width: int) -> Html:
    """Horizontal lines with their values."""
    ticks = _ticks(up.low, up.high)
    digits = max(0, -floor(log10(ticks[1] - ticks[0]))) if len(ticks) > 1 else 3
    return joined(
        joined(
            [
                element(
                    "line", x1=44, x2=width - 6, y1=up.place(tick), y2=up.place(tick), class_="axis"
                ),
                element(
                    "text", f"{tick:.{digits}f}", x=40, y=up.place(tick) + 4, text_anchor="end"
                ),
            ]
        )
        for tick in ticks
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis; scores that differ by rounding alone get one they can be drawn in.

    >>> _padded([2 / 3, 2 / 3 + 1e-16])[1] - _padded([0.5])[0] > 0.15
    True
    """
    low, high = min(values), max(values)
    edge = 0.06 * (high - low) if high - low > 1e-6 else 0.02
    return low - edge, high + edge


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside a range, three to six of them.

    >>> [round(t, 6) for t in _ticks(0.48, 0.93)]
    [0.5, 0.6, 0.7, 0.8, 0.9]
    """
    step = 10.0 ** floor(log10((high - low) / 3))
    step *= next(factor for factor in (5, 2, 1) if (high - low) / (step * factor) >= 2.99)
    first = floor(low / step) + 1
    return [i * step for i in range(first, floor(high / step) + 1)]


def _whole_ticks(low: int, high: int) -> list[int]:
    step = max(1, -(-(high - low) // 8))
    return list(range(low, high + 1, step))
