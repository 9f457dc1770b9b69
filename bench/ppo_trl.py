"""TRL's side of `bench.ppo`, run by the Python of TRL's environment: `python -m bench.ppo_trl WORK.json OUT.json`.

Its trainer is used as its documentation uses it. Set apart from its defaults: the sizes of the work, no gradient
checkpointing and no bfloat16 on the CPU (both would only slow it down), temperature 1, EOS as stop token, no samples
printed. `per_device_train_batch_size` is the whole rollout with `num_mini_batches`: with accumulation instead, TRL
would step only once for several minibatches.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.ppo_work import END, PAD, SEED, Meter, Work, language_model, llama_config, placed, prompts, tokenizer


def main(work: Work, out: Path) -> None:
    """Train and write the figures."""
    import torch

    torch.set_num_threads(work.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer, meter = _trainer(work, folder)
        trainer.train()
    out.write_text(json.dumps(meter.figures(work)), encoding="utf-8")


def _trainer(work: Work, folder: str) -> tuple[Any, Meter]:
    import torch
    from datasets import Dataset
    from transformers import LlamaForSequenceClassification, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    policy, reference = language_model(work, SEED), language_model(work, SEED)
    heads = []
    for seed in (SEED, SEED + 1):
        torch.manual_seed(seed)
        config = llama_config(work)
        config.num_labels = 1
        heads.append(placed(work, LlamaForSequenceClassification(config)))
    meter = Meter()
    update = _measure(meter)

    class Ends(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            meter.seconds["update"] = meter.seconds.get("update", 0.0) + meter.clock() - update.pop()
            meter.iteration_ends()

    trainer = PPOTrainer(
        args=PPOConfig(
            output_dir=folder,
            total_episodes=work.rows * (work.iterations + 1),
            per_device_train_batch_size=work.rows,
            gradient_accumulation_steps=1,
            num_mini_batches=work.rows // work.minibatch,
            num_ppo_epochs=work.epochs,
            local_rollout_forward_batch_size=work.rows,
            response_length=work.response,
            temperature=1.0,
            stop_token="eos",
            missing_eos_penalty=0.5,
            learning_rate=1e-6,
            num_sample_generations=0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            seed=SEED,
        ),
        processing_class=tokenizer(work),
        model=policy,
        ref_model=reference,
        reward_model=heads[1],
        value_model=heads[0],
        train_dataset=Dataset.from_list(
            [{"input_ids": ids} for ids in prompts(work) for _ in range(work.responses_per_prompt)]
        ),
        callbacks=[Ends()],
    )
    return trainer, meter


def _measure(meter: Meter) -> list[float]:
    """Put clocks around TRL's phases.

    Returns:
        A list that gets the time at which an iteration's update begins, at its first pass with gradient.
    """
    import torch
    from trl.experimental.ppo import ppo_trainer

    began: list[float] = []
    generate, forward = ppo_trainer.batch_generation, ppo_trainer.forward

    def generation(*arguments: Any, **named: Any) -> Any:
        found = meter.timed("generation", generate)(*arguments, **named)
        prompt, responses = arguments[1], found[0][:, arguments[1].shape[1] :]
        meter.count("prompt", int((prompt != PAD).sum()))
        ends = (responses == END).int().argmax(dim=1) + 1
        lengths = torch.where((responses == END).any(dim=1), ends, responses.shape[1])
        meter.count("response", int(lengths.sum()))
        return found

    def one_pass(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return meter.timed("scoring", forward)(*arguments)
        if not began:
            began.append(meter.clock())
        return forward(*arguments)

    ppo_trainer.batch_generation, ppo_trainer.forward = generation, one_pass
    ppo_trainer.get_reward = meter.timed("scoring", ppo_trainer.get_reward)
    return began


if __name__ == "__main__":
    main(Work(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))), Path(sys.argv[2]))
