"""Kubernetes' quantities in a profile: refused where the pod would be, and read as numbers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

_CORES = re.compile(r"\d+|\d*\.\d+|\d+m")
"""As kfp takes them."""

_BYTES = re.compile(r"\d+(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
"""As kfp takes them: whole numbers."""

_LEAST_BYTES = 2**20
"""Less than one MiB is a number without its unit: `memory: 32` is 32 bytes."""


def quantity(text: str) -> Decimal:
    """A Kubernetes quantity as a number: `500m` is 0.5, `2Gi` is 2147483648.

    Raises:
        ValueError: it is none.
    """
    from kubernetes.utils.quantity import parse_quantity

    return Decimal(parse_quantity(text))


def _plain(value: Any) -> Any:
    """YAML reads `cpu: 1` as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _cores(text: str) -> str:
    if not _CORES.fullmatch(text) or quantity(text) <= 0:
        raise ValueError(f"{text!r} is no number of cores. Write 4, 0.5 or 500m")
    return text


def _bytes(text: str) -> str:
    if not _BYTES.fullmatch(text):
        raise ValueError(f"{text!r} is no amount of memory. Write a whole number and a unit, such as 512Mi or 32Gi")
    if quantity(text) < _LEAST_BYTES:
        raise ValueError(f"{text!r} is {quantity(text):f} bytes. Write its unit, such as 512Mi or 32Gi")
    return text


Cores = Annotated[str, BeforeValidator(_plain), AfterValidator(_cores)]
"""Cores of a processor."""

Bytes = Annotated[str, BeforeValidator(_plain), AfterValidator(_bytes)]
"""Bytes of memory or disk."""
