"""What the judge made of the teacher's responses to open-ended prompts, as `votes` wrote it."""

from __future__ import annotations

from collections.abc import Mapping

from retort.io.tables import JUDGEMENTS, read_table
from retort.run.stage import Context

Judged = Mapping[tuple[str, str], bool | None]
"""Whether a response, named by its prompt and its text, may be learned from; None where the judge did not decide."""


def read_judged(context: Context) -> Judged:
    """Read the judgements.

    Raises:
        InputError: the table is missing or malformed.
    """
    rows = read_table(context.paths.judgements, JUDGEMENTS)
    return {(row["prompt_id"], row["response"]): row["agrees"] for row in rows}
