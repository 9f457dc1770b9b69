"""From the tokens that a model wrote to a response: where it ends, and what of it is text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retort.engines.base import Request, Response, until
from retort.modeling.chat import response_text
from retort.modeling.turns import turn_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Writer:
    """Reads what models with one tokenizer write."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, ends: tuple[int, ...], model: str) -> None:
        """Say whose tokens they are.

        Args:
            tokenizer: The model's tokenizer.
            ends: Tokens that end a response (`retort.modeling.turns.end_ids`).
            model: Name of the model in tables.
        """
        self.tokenizer, self.ends, self._model = tokenizer, ends, model
        self._markup = tuple(text for text in [turn_of(tokenizer).stop] if text)

    def stops(self, request: Request) -> tuple[str, ...]:
        """Texts that the response ends before; text to continue is no turn that could end."""
        return request.stop if request.form == "text" else (*request.stop, *self._markup)

    def holds(self, ids: Sequence[int], stops: tuple[str, ...]) -> bool:
        """Whether tokens hold one of the texts to stop at."""
        # Special tokens are texts to stop at too ("<|im_end|>"), though no response shows them.
        text = (
            self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
            if stops
            else ""
        )
        return any(one in text for one in stops)

    def response(
        self,
        request: Request,
        prompt_tokens: int,
        ids: list[int],
        logprobs: Sequence[float] | None,
        *,
        finished: bool,
    ) -> Response:
        """The response that tokens are.

        Args:
            request: What was asked.
            prompt_tokens: Tokens of the formatted prompt.
            ids: What was written, with the token that ended it if there was one.
            logprobs: Of each token; None where they are not wanted.
            finished: Whether the model ended it.
        """
        stops = self.stops(request)
        kept = self._until_stop(ids, stops)
        ended = finished or len(kept) < len(ids) or self.holds(kept, stops)
        # Generated tokens stop words included, up to the one that completed them: the same however rows were batched.
        text = response_text(self.tokenizer, kept, self.ends)
        return Response(
            prompt_id=request.prompt_id,
            sample=request.sample,
            model=self._model,
            temperature=request.temperature,
            seed=request.seed,
            response=until(text, stops)[0],
            finish_reason="stop" if ended else "length",
            prompt_tokens=prompt_tokens,
            response_tokens=len(kept),
            mean_logprob=sum(logprobs[: len(kept)]) / len(kept) if logprobs is not None and kept else None,
        )

    def _until_stop(self, ids: list[int], stops: tuple[str, ...]) -> list[int]:
        """The tokens up to the one that completes the first text to stop at; all of them where there is none."""
        if not self.holds(ids, stops):
            return ids
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.holds(ids[:middle], stops) else (middle + 1, high)
        return ids[:low]
