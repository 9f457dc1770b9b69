"""How the report writes numbers: the same on the page, in the Markdown, on the card and in the terminal."""

from __future__ import annotations

import math

NO_INTERVAL = "no interval: every item came out alike"
"""Where resampling items could only give the same number again."""


def percent(value: float | None, decimals: int = 1) -> str:
    """A share as a percentage, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{decimals}f} %"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def interval_words(low: float, high: float) -> str:
    """An interval of a difference of shares, in points; one of zero width is none."""
    return f"{points(low)} to {points(high)}" if low < high else "none: all items alike"


def bracketed(difference: float, low: float, high: float) -> str:
    """A difference of shares with its interval, in points: `+2.1 [+0.8, +3.4]`; one of zero width is none."""
    return f"{points(difference)} [{f'{points(low)}, {points(high)}' if low < high else NO_INTERVAL}]"


def decimals(value: float | None) -> str:
    """A figure with three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def count(value: int | None) -> str:
    """A whole number with its thousands set apart, or a dash."""
    return "–" if value is None else f"{value:,}"


def flops(value: float | None) -> str:
    """Floating-point operations as a power of ten: `1.46 × 10¹²`."""
    if value is None:
        return "–"
    digits, _, power = f"{value:.2e}".partition("e")
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits} × 10{raised}"


def money(value: float | None) -> str:
    """An amount in the unit of the configured prices: two decimals, more where it is less than a tenth.

    `1,234.50`, `0.0123`, `0.000456`: three digits of a small amount, because a fraction of a cent is not nothing.
    """
    if value is None:
        return "–"
    if value == 0 or value >= 0.1:
        return f"{value:,.2f}"
    digits = f"{value:.{2 - math.floor(math.log10(value))}f}".rstrip("0")
    whole, _, rest = digits.partition(".")
    return f"{whole}.{rest.ljust(2, '0')}"


def duration(seconds: float) -> str:
    """Seconds in words: `41 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def joined(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
