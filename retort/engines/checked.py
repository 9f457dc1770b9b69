"""Whether a response is one that every table can hold, before it is written anywhere."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from retort.engines.base import Response
from retort.errors import EngineError

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1


def _whole(text: str) -> str:
    text.encode()  # half a surrogate pair: UnicodeEncodeError is a ValueError
    return text


_Text = Annotated[str, AfterValidator(_whole)]
_Count = Annotated[int, Field(ge=0, le=_INT32)]


class _Row(BaseModel):
    """The fields of `retort.engines.base.Response`, as `retort.io.tables.RESPONSES` holds them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt_id: _Text
    sample: _Count
    model: _Text
    temperature: Annotated[float, Field(allow_inf_nan=False)]
    seed: Annotated[int, Field(ge=-_INT64 - 1, le=_INT64)]
    response: _Text
    finish_reason: _Text
    prompt_tokens: _Count
    response_tokens: _Count
    mean_logprob: Annotated[float, Field(allow_inf_nan=False)] | None = None
    reasoning: _Text | None = None


def checked_response(values: dict[str, Any]) -> Response:
    """The response with these fields.

    Raises:
        ValueError: one is missing, of another type, out of a table's range, or no Unicode.
    """
    return Response(**dict(_Row.model_validate(values)))


def check(response: Response) -> Response:
    """`response`, as it is.

    Raises:
        EngineError: a table cannot hold it, which is a mistake of the engine that gave it.
    """
    try:
        checked_response(asdict(response))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise EngineError(
            f"the engine of {response.model!r} gave a response to prompt {response.prompt_id!r} that no table can "
            f"hold ({problems}). It is not kept; mend the engine."
        ) from error
    return response
