"""Kubernetes' quantities as numbers."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"m": Decimal("0.001"), "": Decimal(1)} | {
    letter + mark: Decimal(base) ** power
    for mark, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGTP" if mark else "kMGTP", start=1)
}


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity as a number: `500m` is 0.5, `2Gi` is 2147483648."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|[kKMGTP]i?)?", text)
    return Decimal(found[1]) * _UNITS[found[2] or ""] if found else Decimal(0)
