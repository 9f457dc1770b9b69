"""How a model behind an OpenAI-compatible endpoint is asked."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from retort.config.base import Strict

_SAID_ELSEWHERE: dict[str, str | None] = {
    "logprobs": "logprobs of the responses' section",
    "max_completion_tokens": "max_new_tokens of the responses' section",
    "max_tokens": "max_new_tokens of the responses' section",
    "messages": "system",
    "model": "model",
    "n": "samples of the responses' section",
    "prompt": "system",
    "seed": "the run's seed",
    "stream": None,
    "temperature": "temperatures of the responses' section",
    "top_p": "top_p of the responses' section",
}
"""Fields of a request that have a setting of their own, or that would make a response something else."""


class Budget(Strict):
    """What one task (a shard of responses, say) may ask for, its earlier attempts included; left out: no bound.

    What is in the cache already costs nothing. A task whose budget is spent ends with what is there, which is kept.
    """

    requests: int | None = Field(None, ge=1)
    """Requests sent, those that are tried again included."""
    tokens: int | None = Field(None, ge=1)
    """Prompt and response tokens together, as the endpoint counts them."""
    cost: float | None = Field(None, gt=0)
    """Money, by `prompt_cost` and `response_cost`."""


class EndpointConfig(Strict):
    """An OpenAI-compatible endpoint, and what is sent to it."""

    NOT_CONTENT: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "api_key_env",
            "headers",
            "concurrency",
            "max_retries",
            "timeout_s",
            "prompt_cost",
            "response_cost",
            "budget",
            "max_missing_share",
            "probe",
        }
    )
    """Fields that do not decide what a response is: a change of one makes no stage run again and asks nothing again."""

    base_url: str
    """Address of the endpoint, ending in /v1; a query (`?api-version=...`) is sent with every request."""
    model: str
    """Name of the model at that endpoint."""
    system: str | None = None
    """System prompt that goes before every conversation; the student is not given it."""
    template_arguments: dict[str, Any] = {}
    """Arguments of the model's chat template, for servers that take them (vLLM, SGLang, llama.cpp), such as
    `enable_thinking: false`."""
    extra_body: dict[str, Any] = {}
    """More fields of each request, such as `top_k: 20` or `reasoning_effort: low`."""
    reasoning_tags: tuple[str, str] = ("<think>", "</think>")
    """What the model puts around its reasoning. Reasoning that the endpoint gives apart (`reasoning_content`) or inside
    the text is kept between them in a column of its own; `sft.reasoning` says whether it is taught."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable with the key; the key itself never enters a configuration. Null for a server without one."""
    headers: dict[str, str] = {}
    """More headers of each request; `${NAME}` in a value stands for the environment variable NAME."""
    concurrency: int = Field(32, ge=1)
    """Requests under way at once."""
    max_retries: int = Field(6, ge=0)
    """Attempts after the first on 408, 409, 429, 5xx, timeouts and answers that are no completion, with exponential
    backoff and jitter."""
    timeout_s: float = Field(120.0, gt=0)
    """Seconds until one request is given up."""
    prompt_cost: float = Field(0.0, ge=0)
    """Price of one million prompt tokens, for the cost table and the budget."""
    response_cost: float = Field(0.0, ge=0)
    """Price of one million response tokens, for the cost table and the budget."""
    budget: Budget = Budget()
    """What a task may spend."""
    max_missing_share: float = Field(0.05, ge=0, le=1)
    """Share of a task's requests that may stay without a response, which are left out and counted: refused by the
    endpoint's policy, too long for it, or answered with no completion at every attempt."""
    probe: bool = True
    """Ask four short questions before the first paid batch, to see what the endpoint honours."""

    @field_validator("base_url")
    @classmethod
    def _it_is_an_address(cls, url: str) -> str:
        url = url.strip()
        try:
            parts = urlsplit(url)
            known = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:  # a port that is none
            known = False
        if not known or any(one.isspace() for one in url):
            raise ValueError(f"{url!r} is no address: give one such as https://example.com/v1")
        for path in ("/chat/completions", "/completions", "/responses"):
            if parts.path.rstrip("/").endswith(path):
                raise ValueError(f"{url!r} names a request: leave {path} out, the address ends before it")
        return url

    @field_validator("extra_body")
    @classmethod
    def _fields_with_a_setting_are_set_there(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name in _SAID_ELSEWHERE:
                where = _SAID_ELSEWHERE[name]
                raise ValueError(
                    f"{name!r} is " + (f"said by {where}" if where else "not for responses that are read whole")
                )
        return values

    @field_validator("reasoning_tags")
    @classmethod
    def _tags_are_two_texts(cls, tags: tuple[str, str]) -> tuple[str, str]:
        if not all(tag.strip() for tag in tags):
            raise ValueError("give the text before and the text after the reasoning, such as ['<think>', '</think>']")
        return tags
