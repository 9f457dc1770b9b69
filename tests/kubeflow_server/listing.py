"""Filters, order and pages of lists as Kubeflow Pipelines' v2beta1 API has them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import unquote

from tests.kubeflow_server.http import Refused, Request

DEFAULT_PAGE, LARGEST_PAGE = 20, 200

_OPERATIONS = {1: "EQUALS", 2: "NOT_EQUALS", 8: "IN", 9: "IS_SUBSTRING"}

Item = dict[str, Any]


def page(request: Request, items: list[Item], key: str, *, fields: tuple[str, ...]) -> tuple[list[Item], int, str]:
    """One page: its items, how many there are in all, and the token of the next page, empty at the end.

    Args:
        request: page_size, page_token, sort_by and filter.
        items: All of them.
        key: The field that names an item for good, by which equals are ordered.
        fields: What may be filtered and sorted by.
    """
    size = int(request.query.get("page_size") or 0)
    if size < 0:
        raise Refused(400, f"The page size should be greater than 0. Got {size}")
    size = min(size or DEFAULT_PAGE, LARGEST_PAGE)
    token = request.query.get("page_token", "")
    criteria = {"sort_by": request.query.get("sort_by", ""), "filter": request.query.get("filter", "")}
    start = 0
    if token:
        try:
            kept = json.loads(base64.b64decode(token))
        except ValueError as error:
            raise Refused(400, "Invalid page token") from error
        if any(criteria.values()) and criteria != kept["criteria"]:
            raise Refused(400, "page token does not match the supplied sort by and/or filtering criteria")
        criteria, start = kept["criteria"], kept["start"]
    found = [one for one in _sorted(items, criteria["sort_by"], key, fields) if _holds(one, criteria["filter"], fields)]
    rest = json.dumps({"criteria": criteria, "start": start + size}).encode()
    more = base64.b64encode(rest).decode() if start + size < len(found) else ""
    return found[start : start + size], len(found), more


def _sorted(items: list[Item], sort_by: str, key: str, fields: tuple[str, ...]) -> list[Item]:
    words = sort_by.lower().split()
    if len(words) > 2 or (len(words) == 2 and words[1] not in ("asc", "desc")):
        raise Refused(400, f"Received invalid sort by format {sort_by!r}")
    if words and words[0] not in fields:
        raise Refused(400, f"Invalid sorting field: {words[0]!r}")
    name = words[0] if words else "created_at"
    return sorted(items, key=lambda one: (one.get(name, ""), one[key]), reverse=words[1:] == ["desc"])


def _holds(item: Item, text: str, fields: tuple[str, ...]) -> bool:
    try:
        predicates = json.loads(unquote(text)).get("predicates", []) if text else []
    except ValueError as error:
        raise Refused(400, f"failed to parse valid filter from {text!r}") from error
    return all(_true(item, one, fields) for one in predicates)


def _true(item: Item, predicate: Item, fields: tuple[str, ...]) -> bool:
    if predicate["key"] not in fields:
        raise Refused(400, f"no support for filtering on unrecognized field {predicate['key']!r}")
    value = str(item.get(predicate["key"], ""))
    operation = _OPERATIONS.get(predicate["operation"], predicate["operation"])
    wanted = predicate.get("string_value", predicate.get("stringValue"))
    several = (predicate.get("string_values") or predicate.get("stringValues") or {}).get("values", [])
    known = {
        "EQUALS": value == wanted,
        "NOT_EQUALS": value != wanted,
        "IN": value in several,
        "IS_SUBSTRING": str(wanted) in value,
    }
    if operation not in known:
        raise Refused(400, f"failed to parse valid filter: operation {operation!r}")
    return known[operation]
