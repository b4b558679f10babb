"""Figures as people read them: sensible digits, the unit beside the number, a real minus sign.

Whatever was not measured, or is no finite number, reads `not measured`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

NOT_MEASURED = "not measured"

_MINUS = "−"
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI = 1024
_MINUTE_S = 60
_TEN = 10
_HUNDRED = 100
_AGO_UNITS = ((2880, 1440, "days"), (60, 60, "h"), (1, 1, "min"))
"""(minutes from which on the unit is used, minutes it holds, its name)"""
_SMALLEST = 1e-6  # below it plain decimals grow too long


def known(value: float | None) -> TypeGuard[float]:
    """Tell whether there is a number to show."""
    return value is not None and math.isfinite(value)


def digits(value: float, figures: int = 3) -> str:
    """Return a number with about `figures` significant digits, never in exponents, with a real minus."""
    if value == 0:
        return "0"
    before = math.floor(math.log10(abs(value))) + 1
    text = f"{value:,.{max(0, figures - before)}f}" if abs(value) >= _SMALLEST else f"{value:.2g}"
    return text.replace("-", _MINUS)


def times(value: float | None) -> str:
    """Return a ratio: 1.64×."""
    return f"{_fixed(value, 1 if abs(value) >= _TEN else 2)}×" if known(value) else NOT_MEASURED


def percent(fraction: float | None) -> str:
    """Return a fraction as a percentage: 0.793 is 79.3 %."""
    return f"{_fixed(100 * fraction, 1)} %" if known(fraction) else NOT_MEASURED


def limit(fraction: float | None) -> str:
    """Return a fraction that is a limit, without digits nobody chose: 0.02 is 2 %, 0.125 is 12.5 %."""
    if not known(fraction):
        return NOT_MEASURED
    shown = digits(100 * fraction, 2 if fraction * _HUNDRED < _TEN else 3)
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown} %"


def change(percentage: float | None) -> str:
    """Return a change that is already in percent, with its sign: −3.2 %."""
    return f"{_signed(percentage)} %" if known(percentage) else NOT_MEASURED


def change_of_log(value: float | None) -> str:
    """Return a change of a logarithm as the percentage it stands for, with its sign."""
    return change(100 * math.expm1(value)) if known(value) else NOT_MEASURED


def points(value: float | None) -> str:
    """Return a change in percentage points, with its sign: −29.8 points."""
    return f"{_signed(value)} points" if known(value) else NOT_MEASURED


def interval(low: float | None, high: float | None) -> str:
    """Return the bounds of a change in percent: (−5.0 to −1.4); empty when there is no interval."""
    if not (known(low) and known(high)):
        return ""
    return f"({_signed(low)} to {_signed(high)})"


def times_interval(low: float | None, high: float | None) -> str:
    """Return the bounds of a ratio: 1.58 to 1.70×; empty when there is no interval."""
    if not (known(low) and known(high)):
        return ""
    return f"{_fixed(low, 2)} to {times(high)}"


def rate(tokens_per_second: float | None) -> str:
    """Return a decode rate: 207 tok/s."""
    return f"{digits(tokens_per_second)} tok/s" if known(tokens_per_second) else NOT_MEASURED


def seconds(value: float | None) -> str:
    """Return a time in the unit that suits it: 12.4 ms."""
    if not known(value):
        return NOT_MEASURED
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if abs(value) * factor >= 1 or value == 0:
            return f"{digits(value * factor)} {unit}"
    return f"{digits(value * 1e6)} µs"


def size(count: float | None) -> str:
    """Return a number of bytes: 15.6 GiB."""
    if not known(count):
        return NOT_MEASURED
    amount, unit = float(count), 0
    while abs(amount) >= _KIBI and unit < len(_BYTE_UNITS) - 1:
        amount, unit = amount / _KIBI, unit + 1
    return f"{digits(amount)} {_BYTE_UNITS[unit]}"


def count(value: float | None) -> str:
    """Return a whole number: 1,058."""
    return f"{value:,.0f}" if known(value) else NOT_MEASURED


def moment(when: datetime | None) -> str:
    """Return a date with its time, in UTC: 24 November 2026, 04:05 UTC."""
    return f"{day(when)}, {when.astimezone(UTC):%H:%M} UTC" if when else "not known"


def day(when: datetime | None) -> str:
    """Return a date in UTC: 24 November 2026."""
    return f"{when.astimezone(UTC).day} {when.astimezone(UTC):%B %Y}" if when else "not known"


def duration(span: timedelta) -> str:
    """Return how long something took: 3 min 20 s."""
    whole = round(span.total_seconds())
    if whole < _MINUTE_S:
        return f"{whole} s"
    minutes, rest = divmod(whole, _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes} min {rest} s"
    return f"{minutes // _MINUTE_S} h {minutes % _MINUTE_S} min"


def ago(when: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, or how far ahead it lies, in its largest unit: 12 min ago."""
    if when is None:
        return "never"
    seconds_ago = (now - when).total_seconds()
    if abs(seconds_ago) < _MINUTE_S:
        return "just now"
    minutes = abs(seconds_ago) / _MINUTE_S
    _, size, unit = next(row for row in _AGO_UNITS if minutes >= row[0])
    span = f"{minutes / size:.0f} {unit}"
    return f"{span} ago" if seconds_ago > 0 else f"in {span}"


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are known; None when there are none."""
    finite = sorted(value for value in values if known(value))
    if not finite:
        return None
    middle = len(finite) // 2
    return finite[middle] if len(finite) % 2 else (finite[middle - 1] + finite[middle]) / 2


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", _MINUS)  # + 0.0: zero has no sign


def _signed(value: float) -> str:
    decimals = 0 if abs(value) >= _HUNDRED else 1
    text = f"{value:+,.{decimals}f}"
    if not text.strip("+-0.,"):
        return text[1:]  # a change that rounds to nothing has no direction
    return text.replace("-", _MINUS)
