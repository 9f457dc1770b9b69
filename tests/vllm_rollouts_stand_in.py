"""A program with the command line and the routes of `vllm serve` that a model in training is sampled by.

It computes with a real model of `transformers`, one token after another, so that what it answers is right when its
weights are. MODE says how it fails, as real ones were seen to: all of them say that all went well.

`stale`: keeps the weights that it has. `head`: takes all new weights but the head's. `cache`: goes on from what old
weights computed of a prompt that it has read before. `raw`: tells log-probabilities at temperature 1. `die 9`: ends in
the ninth completion. `die-loading 2`: ends in the second update.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

# A script: its folder is what Python looks in first.
from vllm_stand_in import Handler, Server  # type: ignore[import-not-found]

MODE, _, WHEN = os.environ.get("MODE", "").partition(" ")
STATE = Path(os.environ["STATE"])


class Models:
    """What is served, by name."""

    def __init__(self, folder: str) -> None:
        """Load what the server is started with."""
        self.folder = folder
        self.by_name = {"model": AutoModelForCausalLM.from_pretrained(folder).eval()}
        self.lock = threading.Lock()
        self.read_with: dict[tuple[Any, ...], Any] = {}
        self.completions = self.updates = 0

    def update(self, folder: str) -> None:
        """Take all weights of a folder."""
        self.count_update()
        if MODE == "stale" and self.updates > 1:
            return
        made = AutoModelForCausalLM.from_pretrained(folder).eval()
        if MODE == "head":
            made.lm_head = self.by_name["model"].lm_head
        self.by_name["model"] = made

    def add(self, name: str, folder: str) -> None:
        """Take an adapter."""
        from peft import PeftModel

        self.count_update()
        assert (Path(folder) / "adapter_model.safetensors").exists(), "an adapter of its own, not of the critic"
        if MODE == "stale" and self.updates > 1:
            self.by_name[name] = self.by_name[f"adapter-{self.updates - 1}"]
        else:
            base = AutoModelForCausalLM.from_pretrained(self.folder)
            self.by_name[name] = PeftModel.from_pretrained(base, folder).eval()

    def count_update(self) -> None:
        """Count an update, or end in it."""
        self.updates += 1
        (STATE / "updates").write_text(str(self.updates))
        if MODE == "die-loading" and self.updates == int(WHEN):
            print("Segmentation fault in reload", flush=True)
            os._exit(1)

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """A completion's choice."""
        self.completions += 1
        if MODE == "die" and self.completions == int(WHEN):
            print("CUDA error: an illegal memory access was encountered", flush=True)
            os._exit(1)
        model, ids = self.by_name[body["model"]], list(body["prompt"])
        # As a prefix cache does, which tells adapters apart by their names.
        model = self.read_with.setdefault((body["model"], *ids), model)
        generator, drawn, logprobs = torch.Generator().manual_seed(body["seed"]), list[int](), list[float]()
        while len(drawn) < body["max_tokens"]:
            logits, temperature = model(torch.tensor([ids + drawn])).logits[0, -1], body["temperature"]
            scores = (logits / (temperature or 1.0)).log_softmax(-1)
            chosen = int(torch.multinomial(scores.exp(), 1, generator=generator) if temperature else scores.argmax())
            drawn.append(chosen)
            told = logits.log_softmax(-1) if MODE == "raw" else scores
            logprobs.append(float(told[chosen]))
            if chosen in body["stop_token_ids"]:
                break
        finished = drawn[-1] in body["stop_token_ids"]
        reason = "stop" if finished else "length"
        return {"token_ids": drawn, "finish_reason": reason, "logprobs": {"token_logprobs": logprobs}}


class Routes(Handler):
    """Completions and updates."""

    models: Models

    def post(self, body: dict[str, Any]) -> None:
        """Any route."""
        models = type(self).models
        with models.lock:
            if self.path == "/v1/completions":
                if body["model"] not in models.by_name:
                    self.answer(b'{"error": {"message": "The model does not exist."}}', status=404)
                    return
                found: Any = {"choices": [models.complete(body)]}
            elif self.path == "/collective_rpc":
                assert body["method"] == "retort_load_weights"
                models.update(body["kwargs"]["folder"])
                found = {"results": ["1"]}
            elif self.path == "/reset_prefix_cache":
                if MODE != "cache":
                    models.read_with.clear()
                found = {"success": True}
            elif self.path == "/v1/load_lora_adapter":
                models.add(body["lora_name"], body["lora_path"])
                found = "Success"
            else:
                assert self.path == "/v1/unload_lora_adapter"
                del models.by_name[body["lora_name"]]
                found = "Success"
        self.answer(json.dumps(found).encode())


def main(arguments: list[str]) -> None:
    """Serve at `--uds`."""
    torch.set_num_threads(1)
    (STATE / "arguments").write_text(json.dumps(arguments))
    Routes.models = Models(arguments[0])
    server: socketserver.BaseServer = Server(arguments[arguments.index("--uds") + 1], Routes)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
