"""How are seconds, bytes and shares written for people? Short, and never better than they are."""

from __future__ import annotations

from math import isfinite


def duration(seconds: float) -> str:
    """A length of time in the units that somebody would say.

    >>> [duration(s) for s in (4.2, 48, 200, 4_000, 200_000)]
    ['4 seconds', '48 seconds', '3 minutes', '1 h 7 min', '2 days 8 h']
    """
    seconds = max(0.0, seconds)
    if seconds < 100:
        return counted(round(seconds), "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return counted(minutes, "minute")
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(minutes / 60)
    return f"{hours // 24} days {hours % 24} h"


def roughly(seconds: float) -> str:
    """A length of time that was estimated: seconds in steps of five.

    >>> [roughly(s) for s in (0, 1, 73, 200)]
    ['0 seconds', '5 seconds', '75 seconds', '3 minutes']
    """
    if 0 < seconds < 100:
        seconds = max(5, 5 * round(seconds / 5))
    return duration(seconds)


def clock(seconds: float) -> str:
    """The same for a table that ticks.

    >>> [clock(s) for s in (4.2, 200, 4_000)]
    ['0:04', '3:20', '1:06:40']
    """
    whole = int(max(0.0, seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def size(count: float) -> str:
    """Bytes, in powers of 1000, as disks are sold.

    >>> [size(n) for n in (900, 147_000, 3_200_000_000)]
    ['900 B', '147 kB', '3.2 GB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.1f} {unit}" if unit == "GB" and count < 10 else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def share(value: float | None) -> str:
    """A share or a score with two digits; more where two would say that nothing was missed.

    >>> [share(v) for v in (0.98, 1.0, 0.997, 0.99996, -0.25, None)]
    ['.98', '1.00', '.997', 'over .999', '-.25', '–']
    """
    if value is None or not isfinite(value):
        return "–"
    if 0.995 <= value < 1.0:
        return _bare(f"{value:.3f}") if value < 0.9995 else "over .999"
    return _bare(f"{value:.2f}")


def bound(value: float) -> str:
    """An end of an interval, with two digits.

    >>> bound(0.8951), bound(0.9965)
    ('.90', '1.00')
    """
    return _bare(f"{value:.2f}")


def setting(value: object) -> str:
    """A hyperparameter's value: floats with three digits, all else as it is.

    >>> [setting(v) for v in (0.00031234, 3, None, "adam")]
    ['0.000312', '3', 'None', 'adam']
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def counted(number: int, unit: str) -> str:
    """A number of things.

    >>> counted(1, "worker"), counted(4, "worker")
    ('1 worker', '4 workers')
    """
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _bare(text: str) -> str:
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
