"""What both sides of `bench.ppo` work on: one model, one tokenizer, one set of prompts, one setting of PPO.

Imported by both environments, so it needs nothing but torch and transformers. Everything follows from `SEED`.
"""

from __future__ import annotations

import random
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 0
PAD, END = 0, 1


@dataclass(frozen=True)
class Work:
    """Sizes of the model, of the rollout and of the update; the same for both sides."""

    vocabulary: int = 8192
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    key_value_heads: int = 4
    intermediate: int = 682
    rows: int = 64
    """Episodes a rollout."""
    responses_per_prompt: int = 4
    shortest_prompt: int = 24
    longest_prompt: int = 64
    response: int = 128
    """Tokens after which a response is cut off."""
    mean_response: float | None = 45.0
    """Tokens after which a response ends on average; None lets none end before it is cut off."""
    epochs: int = 2
    minibatch: int = 16
    iterations: int = 4
    """Iterations that are measured, after one that is not."""
    threads: int = 2
    dtype: str = "float32"


def llama_config(work: Work) -> LlamaConfig:
    """Tied embeddings hold 31 % of the parameters: Qwen2.5-0.5B's hold 28 %, Llama-3.2-1B's 21 %."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=work.vocabulary,
        hidden_size=work.hidden,
        intermediate_size=work.intermediate,
        num_hidden_layers=work.layers,
        num_attention_heads=work.heads,
        num_key_value_heads=work.key_value_heads,
        max_position_embeddings=1024,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
        tie_word_embeddings=True,
    )


def language_model(work: Work, seed: int) -> LlamaForCausalLM:
    """A model of random weights that ends a response with a fixed probability a token.

    Its scores are close to uniform; a bias on the tied head gives the end token its probability and padding none.
    """
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(llama_config(work))
    bias = torch.zeros(work.vocabulary)
    bias[PAD] = bias[END] = -1e9
    if work.mean_response is not None:
        bias[END] = torch.tensor((work.vocabulary - 2) / (work.mean_response - 1)).log()
    model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    found: LlamaForCausalLM = placed(work, model)
    return found


def placed(work: Work, model: Any) -> Any:
    """`model` in the work's type, on the GPU where there is one."""
    import torch

    return model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"), getattr(torch, work.dtype))


def tokenizer(work: Work) -> PreTrainedTokenizerFast:
    """One word a token; the chat template adds nothing, so both sides read the same tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": PAD, "<end>": END} | {f"w{number}": number for number in range(2, work.vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["<pad>", "<end>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<end>",
        padding_side="left",
        chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
    )


def prompts(work: Work) -> list[list[int]]:
    """Different prompts for all iterations, of lengths spread evenly between the shortest and the longest."""
    rng = random.Random(SEED)  # noqa: S311 - prompts of a benchmark
    return [
        [rng.randrange(2, work.vocabulary) for _ in range(rng.randint(work.shortest_prompt, work.longest_prompt))]
        for _ in range(work.rows // work.responses_per_prompt * (work.iterations + 1))
    ]


class Meter:
    """Time by phase and peak memory, from the end of the first iteration on; the first makes what is made once.

    Peak memory is counted from the loaded models on, the first iteration included, where optimizers make their state.
    """

    def __init__(self) -> None:
        import torch

        self._gpu = torch.cuda.is_available()
        self.seconds: dict[str, float] = {}
        self.tokens: dict[str, int] = {}
        self._marks: list[tuple[float, float]] = []
        _load_optimizer()
        self._loaded = self._now_bytes()
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM

    def clock(self) -> float:
        """Seconds, after the GPU has done what it was given."""
        import torch

        if self._gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, phase: str, work: Any) -> Any:
        """`work` as a function whose time counts to `phase`."""

        def measured(*arguments: Any, **named: Any) -> Any:
            start = self.clock()
            found = work(*arguments, **named)
            self.seconds[phase] = self.seconds.get(phase, 0.0) + self.clock() - start
            return found

        return measured

    def count(self, kind: str, tokens: int) -> None:
        """Add tokens of a kind."""
        self.tokens[kind] = self.tokens.get(kind, 0) + tokens

    def iteration_ends(self) -> None:
        """Mark the end of an iteration; the first one's figures are dropped."""
        if not self._marks:
            self.seconds.clear()
            self.tokens.clear()
        self._marks.append((self.clock(), time.process_time()))

    def figures(self, work: Work) -> dict[str, Any]:
        """What was measured, in plain values."""
        import torch

        (first, first_cpu), (last, last_cpu) = self._marks[0], self._marks[-1]
        count = (len(self._marks) - 1) * work.rows
        peak = torch.cuda.max_memory_allocated() if self._gpu else _peak_bytes()
        rest = last - first - sum(self.seconds.values())
        return {
            "work": asdict(work),
            "episodes": count,
            "seconds": last - first,
            "episodes_per_s": count / (last - first),
            "episodes_per_cpu_s": count / (last_cpu - first_cpu),
            "share": {name: spent / (last - first) for name, spent in {**self.seconds, "rest": rest}.items()},
            "tokens_per_episode": {kind: number / count for kind, number in self.tokens.items()},
            "tokens_per_s": sum(self.tokens.values()) / (last - first),
            # 6 x parameters a token and epoch (Kaplan et al. 2020), of policy and critic, tokens without padding
            "update_tflops": self._update_flops(work) / self.seconds["update"] / 1e12,
            "loaded_mb": self._loaded / 1e6,
            "peak_above_models_mb": (peak - self._loaded) / 1e6,
            "peak_process_mb": peak / 1e6,
            "device": torch.cuda.get_device_name() if self._gpu else "cpu",
            "versions": {"torch": torch.__version__, **_version_of("transformers"), **_version_of("trl")},
        }

    def _update_flops(self, work: Work) -> float:
        import torch
        from transformers import LlamaForCausalLM

        with torch.device("meta"):
            model = LlamaForCausalLM(llama_config(work))
        policy = model.num_parameters()
        critic = sum(parameter.numel() for parameter in model.model.layers.parameters())
        return float(6.0 * (policy + critic) * work.epochs * sum(self.tokens.values()))

    def _now_bytes(self) -> int:
        import torch

        return int(torch.cuda.memory_allocated()) if self._gpu else _status_bytes("VmRSS")


def _load_optimizer() -> None:
    """The first step of any optimizer imports a large part of torch; that is not the trainer's memory."""
    import torch

    weight = torch.nn.Parameter(torch.ones(1))
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()


def _peak_bytes() -> int:
    if sys.platform == "linux":
        return _status_bytes("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status_bytes(field: str) -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _version_of(package: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {package: version(package)}
    except PackageNotFoundError:
        return {}
