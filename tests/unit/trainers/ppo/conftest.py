"""A task small enough to know everything about: digits, one token each, and transformers that answer in them."""

from __future__ import annotations

import copy

import pytest
import torch

from retort.config.training import PPOConfig

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]


@pytest.fixture(scope="session")
def digits_tokenizer():
    """Fourteen tokens: four special ones and the digits. Every text of digits has one tokenization."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*SPECIAL, *"0123456789"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=TEMPLATE,
        padding_side="left",
    )


@pytest.fixture(scope="session")
def digits_model():
    """`digits_model(seed)`: a Llama of one layer and 14 tokens, far from uniform."""

    def make(seed: int = 0, std: float = 0.3):
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=14,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
            for weight in model.parameters():
                if weight.dim() > 1:
                    torch.nn.init.normal_(weight, std=std)
        return model.eval()

    return make


class Judged:
    """A reward without a model: any function of a prompt, a response and whether it ended."""

    name, flops_per_token = "judged", 0.0

    def __init__(self, score):
        self._score = score

    def score(self, prompts, responses, finished):
        return torch.tensor([float(self._score(*row)) for row in zip(prompts, responses, finished, strict=True)])


@pytest.fixture
def make_models(digits_tokenizer, digits_model):
    """`make_models(score=None, likelihood_models=(), prompts=...)`: everything that PPO works with.

    Without `score` the reward is a real RewardModel with random weights and the named likelihood models: `sft` reads
    like the policy, `other` has a chat template of its own.
    """

    def make(score=None, likelihood_models=("sft",), prompts=("12", "7", "345", "90"), labels=None):
        from retort.modeling.chat import prompt_ids
        from retort.rewards.learned.features import LikelihoodModel
        from retort.rewards.learned.model import RewardModel
        from retort.trainers.ppo.critic import Critic
        from retort.trainers.ppo.models import features_of
        from retort.trainers.ppo.rollout import PPOModels, frozen_models
        from retort.trainers.shared.prompts import TrainingPrompt

        other = copy.deepcopy(digits_tokenizer)
        other.chat_template = TEMPLATE.replace("<|assistant|>", "<|user|><|assistant|>")
        reference = digits_model()
        known = {"sft": LikelihoodModel(reference, digits_tokenizer), "other": LikelihoodModel(digits_model(3), other)}
        torch.manual_seed(5)
        if score is None:
            reward = RewardModel(
                digits_model(4), digits_tokenizer, {name: known[name] for name in likelihood_models}, head_size=8
            )
        else:
            reward = Judged(score)
        seen = features_of(reward, frozen_models(reward, digits_tokenizer))
        critic = Critic(digits_model(), features=seen, head_size=8)
        listed = [
            TrainingPrompt(f"p{text}", text, prompt_ids(digits_tokenizer, text), label=text[0]) for text in prompts
        ]
        return PPOModels(
            policy=digits_model(),
            critic=critic,
            reference=reference,
            reward=reward,
            start="sft",
            tokenizer=digits_tokenizer,
            prompts=listed,
            held_out=listed,
        )

    return make


@pytest.fixture
def ppo_config():
    """`ppo_config(**changes)`: a configuration that takes no time."""

    def make(**changes):
        plain = {
            "iterations": 4,
            "prompts_per_iteration": 4,
            "responses_per_prompt": 4,
            "max_new_tokens": 6,
            "minibatch_size": 8,
            "learning_rate": 1e-3,
            "critic_warmup": 1,
            "critic_warmup_epochs": 1,
            "evaluate_every": 1,
            "checkpoint_every": 1,
            "critic_head_size": 8,
        }
        return PPOConfig(**(plain | changes))

    return make


@pytest.fixture
def weights():
    """`weights(module)`: a copy of all its parameters as one vector."""
    return lambda module: torch.cat([p.detach().flatten().clone() for p in module.parameters()])


@pytest.fixture
def optimizers():
    """`optimizers(models, config)`: what the trainer makes of them."""
    from retort.trainers.ppo.optimizers import make_optimizers

    return make_optimizers
