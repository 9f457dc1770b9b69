"""Values of rows as text: ids and gold answers of any type, the same text for what is equal wherever it was kept."""

from __future__ import annotations

import json
import math
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from retort.errors import InputError
from retort.io.json_rows import kind_of
from retort.io.rows import text_field

_WHOLE_FLOAT = 2**53
"""Beyond it a float no longer tells whole numbers apart."""


def id_text(value: Any, field: str, *, file: Path | str, row: int) -> str:
    """An id of any type as text: what two rows share they share as text, too.

    Tables with gaps keep whole numbers as floats, so 7.0 is the id 7.

    Raises:
        InputError: it is null, empty, no finite number, or not valid Unicode.
    """
    if isinstance(value, list | dict):
        value = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    elif isinstance(value, bytes):
        value = value.hex()
    elif isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE_FLOAT:
        value = str(int(value))
    elif value is not None and not isinstance(value, str):
        value = plain_text(value, field, file=file, row=row)
    return text_field({field: value}, field, file=file, row=row)


def plain_text(value: Any, field: str, *, file: Path | str, row: int) -> str:
    """A number, date or boolean as text.

    Raises:
        InputError: it is none, or no finite number.
    """
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        remedy = "Give null where nothing is known; write a number that is too large as a string, in quotes"
        raise InputError(f"is {value}, not a number", file=file, row=row, field=field, remedy=remedy)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bool | int | float):
        return str(value)
    remedy = "Give a string, number or date"
    raise InputError(f"is {kind_of(value)}", file=file, row=row, field=field, remedy=remedy)
