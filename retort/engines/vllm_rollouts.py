"""vLLM as the sampler of a model in training: token ids in and out, its weights replaced after each update.

An adapter goes there as a new version under a new name, and the one before is taken out: nothing that was computed with
another version is found again under the new name. All weights are written down and loaded in place by vLLM's own
`reload_weights`, after which its prefix cache is emptied.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.config.rollouts import VLLMRolloutConfig
from retort.engines.vllm_arguments import NAME, serve_arguments, serving_length
from retort.engines.vllm_client import VLLMClient
from retort.engines.vllm_server import Server, Serving
from retort.errors import EngineError
from retort.modeling.process_group import process_group
from retort.plugins import RolloutContext

if TYPE_CHECKING:
    import httpx2

    from retort.engines.sampler import Sample

_log = logging.getLogger(__name__)

WORK = ".retort/rollouts"
"""Folder of a workspace that weights pass through on their way to a server."""

MAX_DIFFERENCE = {"float32": 1e-3, "bfloat16": 0.2}
"""Mean difference of log-probabilities that two right computations stay below, by type; measured were 1e-5 and 0.05."""

_WORKER = Path(__file__).parent / "vllm_worker"
"""Folder of what vLLM's processes import."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""


class VLLMRollouts:
    """Starts a server with the first weights; see `retort.engines.base.Rollouts`."""

    def __init__(
        self, context: RolloutContext, *, logs: Path, work: Path, program: Sequence[str] | None = None
    ) -> None:
        """Say what to serve; nothing is started yet.

        Args:
            context: Settings, starting weights, and what they are served for.
            logs: Folder of what the server prints.
            work: Folder for weights on their way; it is this object's own.
            program: Program that serves; its arguments are those of `vllm serve`.
        """
        config: VLLMRolloutConfig = context.settings
        workers = process_group()
        own = "" if workers.size == 1 else f"-{workers.rank}"
        self.max_difference = config.max_difference or MAX_DIFFERENCE[context.dtype]
        self._config, self._context = config, context
        self._program = tuple(program or (config.program, "serve"))
        self._log_file = logs / f"vllm-rollouts-{context.student}{own}.log"
        self._work = work.with_name(work.name + own).absolute()
        self._server: Server | None = None
        self._version = 0
        self._name = NAME

    def load(self, write: Callable[[Path], None]) -> None:
        """See `Rollouts.load`. The first call starts the server.

        Raises:
            MissingToolError: vLLM is not installed.
            EngineError: the server ended or refuses the weights.
        """
        server, begun = self._running(), time.monotonic()
        self._version += 1
        folder = self._work / f"version-{self._version}"
        folder.mkdir(parents=True)
        write(folder)
        if self._context.adapter_rank is None:
            server.ask("/collective_rpc", {"method": "retort_load_weights", "kwargs": {"folder": str(folder)}})
            if server.ask("/reset_prefix_cache", {}) != {"success": True}:
                raise EngineError(f"vLLM does not empty its prefix cache of what old weights computed ({server.log}).")
            shutil.rmtree(folder)
        else:
            self._load_adapter(server, folder)
        _log.debug("vLLM has version %d of the weights after %.1f s", self._version, time.monotonic() - begun)

    def sample(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], *, temperature: float, max_new_tokens: int
    ) -> list[Sample]:
        """See `Rollouts.sample`."""
        from retort.engines.sampler import Sample

        same = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "stop_token_ids": list(self._context.ends),
            "return_token_ids": True,
            "logprobs": 0,
            "skip_special_tokens": False,
        }
        found = self._choices([same | {"prompt": [*p], "seed": s} for p, s in zip(prompts, seeds, strict=True)])
        return [
            Sample(one["token_ids"], one["logprobs"]["token_logprobs"], one["finish_reason"] == "stop") for one in found
        ]

    def close(self) -> None:
        """End the server and remove what weights it was given."""
        if self._server is not None:
            self._server.end()
        self._server = None
        shutil.rmtree(self._work, ignore_errors=True)

    def arguments(self) -> list[str]:
        """Command-line arguments of the server."""
        from retort.modeling.loading import context_length, described_model

        context, rank = self._context, self._context.adapter_rank
        more: dict[str, Any] = {"worker_extension_cls": "retort_vllm_worker.Weights"}
        if rank is not None:
            room = next((one for one in _RANKS if one >= rank), rank)
            # Two: the new version is loaded before the old one is taken out.
            more = {"enable_lora": True, "max_lora_rank": room, "max_loras": 1, "max_cpu_loras": 2}
        return serve_arguments(
            self._config,
            context.folder,
            length=serving_length(self._config, context.length, context_length(described_model(context.folder))),
            dtype=context.dtype,
            more=more,
        )

    def environment(self) -> dict[str, str]:
        """Variables of the server: the routes by which weights change, and its GPU where each process has one."""
        given = dict(self._config.environment)
        if self._context.adapter_rank is not None:
            given["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        else:
            given["VLLM_SERVER_DEV_MODE"] = "1"
            path = given.get("PYTHONPATH", os.environ.get("PYTHONPATH"))
            given["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_WORKER), path]))
        if process_group().size > 1:
            given |= _own_device()
        return given

    def _running(self) -> Server:
        if self._server is None:
            shutil.rmtree(self._work, ignore_errors=True)  # of a stage that was killed
            serving = Serving(self.arguments(), self.environment(), self._config.start_timeout_s, self._context.place)
            self._server = Server(self._program, serving, self._log_file)
            self._server.start()
        return self._server

    def _load_adapter(self, server: Server, folder: Path) -> None:
        before, self._name = self._name, f"adapter-{self._version}"
        server.ask("/v1/load_lora_adapter", {"lora_name": self._name, "lora_path": str(folder)})
        if before != NAME:
            server.ask("/v1/unload_lora_adapter", {"lora_name": before})
            # Not before: vLLM reads an adapter again that it has put aside.
            shutil.rmtree(self._work / f"version-{self._version - 1}")

    def _choices(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The choice of each completion, in their order."""
        assert self._server is not None, "weights are loaded first"
        asking = VLLMClient(self._server, self._config, self._context.place)
        found: list[dict[str, Any]] = [{}] * len(bodies)

        async def ask(client: httpx2.AsyncClient, place: int) -> tuple[int, dict[str, Any]]:
            return place, await asking.post(client, {"model": self._name, **bodies[place]})

        for some in asking.all(ask, range(len(bodies))):
            for place, choice in some:
                found[place] = choice
        return found


def _own_device() -> dict[str, str]:
    """The GPU of this process as the only one that its server sees."""
    import torch

    if not torch.cuda.is_available():
        return {}
    number = torch.cuda.current_device()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[number] if visible else str(number)}
