"""The local engine: what a response depends on, and resuming."""

from __future__ import annotations

import resource
from dataclasses import replace

import pytest
import torch

from retort.config.data import SamplingConfig
from retort.engines.base import derived_seed, plan_requests
from retort.engines.local import LocalEngine
from retort.engines.log import answer
from retort.errors import EngineError, InputError, StorageError
from retort.modeling.chat import prompt_ids

SAMPLING = SamplingConfig(temperatures=[0.0, 1.0], samples=2, max_new_tokens=12, batch_size=1)  # in pools of four
PROMPTS = [{"prompt_id": f"p{index}", "prompt": "how many cards now ? " * (index % 3 + 1)} for index in range(6)]
REQUESTS = plan_requests(PROMPTS, SAMPLING, seed=7, stage="teacher_responses")


@pytest.fixture
def engine(tiny_model_folder):
    return LocalEngine(tiny_model_folder(), file="outputs/prompts")


class Dies(LocalEngine):
    """Stops after a number of batches, as a killed process does."""

    batches = 2

    def generate(self, requests, sampling, done=()):
        for number, batch in enumerate(super().generate(requests, sampling, done)):
            if number == self.batches:
                raise EngineError("killed")
            yield batch


def test_a_request_plan_counts_samples_over_temperatures_and_seeds_each():
    assert [(one.sample, one.temperature) for one in REQUESTS[:4]] == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)]
    assert len({one.seed for one in REQUESTS}) == len(REQUESTS)
    assert REQUESTS[0].seed == derived_seed(7, "teacher_responses", "p0", 0)
    assert REQUESTS[0].seed != plan_requests(PROMPTS, SAMPLING, seed=8, stage="teacher_responses")[0].seed
    assert REQUESTS[0].seed != plan_requests(PROMPTS, SAMPLING, seed=7, stage="student_responses")[0].seed


def test_every_request_is_answered_and_greedy_samples_agree(engine, tmp_path):
    found = answer(engine, REQUESTS, SAMPLING, tmp_path / "log", words="teacher")
    assert [one.key for one in found] == [one.key for one in REQUESTS]
    by_key = {one.key: one for one in found}
    for row in PROMPTS:
        assert by_key[row["prompt_id"], 0].response == by_key[row["prompt_id"], 1].response
    assert len({one.response for one in found if one.temperature == 1.0}) > 6
    assert {one.finish_reason for one in found if one.response_tokens < 12} <= {"stop"}
    assert {one.model for one in found} == {"llama-0"}


def test_log_probabilities_are_those_of_the_sampled_tokens(engine):
    sampling = SAMPLING.model_copy(update={"logprobs": True, "max_new_tokens": 1})
    found = [one for batch in engine.generate(REQUESTS, sampling) for one in batch]
    one = next(one for one in found if one.temperature == 1.0 and one.response)
    request = next(request for request in REQUESTS if request.key == one.key)
    ids = prompt_ids(engine.tokenizer, request.prompt)
    logits = engine.weights(torch.tensor([ids])).logits[0, -1]
    token = engine.tokenizer(one.response, add_special_tokens=False).input_ids[0]
    assert one.mean_logprob == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-4)
    plain = [one for batch in engine.generate(REQUESTS, SAMPLING) for one in batch]
    assert {one.mean_logprob for one in plain} == {None}


def test_a_response_ends_before_the_first_text_to_stop_at(engine):
    sampling = SAMPLING.model_copy(update={"max_new_tokens": 40})
    free = {one.key: one for batch in engine.generate(REQUESTS, sampling) for one in batch}
    # Each request stops at two characters of its own: of its free response, from the 10th and from the 5th on.
    stops = {key: tuple(one.response[at : at + 2] for at in (10, 5)) for key, one in free.items()}
    requests = [replace(one, stop=tuple(text for text in stops[one.key] if text)) for one in REQUESTS]
    shorter = 0
    for batch in engine.generate(requests, sampling):
        for one in batch:
            whole = free[one.key].response
            ends = [whole.find(text) for text in stops[one.key] if text]
            assert one.response == whole[: min(ends)]
            assert one.finish_reason == "stop"
            shorter += one.response_tokens < free[one.key].response_tokens
    assert shorter == len(REQUESTS)


def test_a_special_token_can_be_stopped_at(engine):
    ids = [*engine.tokenizer("abc def").input_ids, engine.tokenizer.convert_tokens_to_ids("<|user|>")]
    written = engine._writer.response
    stopped = written(replace(REQUESTS[0], stop=("Question:", "<|user|>")), 3, [*ids, *ids], None, finished=False)
    assert (stopped.response, stopped.finish_reason, stopped.response_tokens) == ("abc def", "stop", len(ids))
    assert written(REQUESTS[0], 3, [*ids, *ids], None, finished=False).finish_reason == "length"


def test_text_to_continue_is_another_prompt_than_a_message(engine):
    (message,), (text,) = (
        next(engine.generate([replace(REQUESTS[0], form=form)], SAMPLING)) for form in ("message", "text")
    )
    assert text.prompt_tokens < message.prompt_tokens  # no chat format
    assert text.response != message.response


def test_a_response_does_not_depend_on_who_is_asked_beside_it(engine):
    together = {one.key: one for batch in engine.generate(REQUESTS, SAMPLING) for one in batch}
    alone = next(one for batch in engine.generate(REQUESTS[2:3], SAMPLING) for one in batch)
    assert alone == together[alone.key]


def test_a_resumed_task_equals_an_uninterrupted_one(engine, tiny_model_folder, tmp_path):
    whole = answer(engine, REQUESTS, SAMPLING, tmp_path / "whole", words="teacher")
    log = tmp_path / "log"
    killed = Dies(tiny_model_folder(), file="outputs/prompts")
    with pytest.raises(EngineError, match="killed"):
        answer(killed, REQUESTS, SAMPLING, log, words="teacher")
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    # The second batch was half written when the process died.
    log.write_bytes(b"".join(lines[:6]) + lines[6][:20])
    assert answer(engine, REQUESTS, SAMPLING, log, words="teacher") == whole


def test_batches_that_are_done_are_not_answered_again(engine, monkeypatch):
    done = {one.key for batch in list(engine.generate(REQUESTS, SAMPLING))[:3] for one in batch}
    again = [one.key for batch in engine.generate(REQUESTS, SAMPLING, done) for one in batch]
    assert not done & set(again)
    assert done | set(again) == {one.key for one in REQUESTS}


def test_a_prompt_longer_than_the_context_is_refused_before_anything_is_generated(engine):
    prompts = [*PROMPTS, {"prompt_id": "long", "prompt": "cards " * 300}]
    requests = plan_requests(prompts, SAMPLING, seed=0, stage="teacher_responses")
    with pytest.raises(InputError, match=r"outputs/prompts.*prompt 'long' has .* exceeds the model's context of 256"):
        next(engine.generate(requests, SAMPLING))


def test_the_end_token_is_not_part_of_the_text(engine):
    for batch in engine.generate(REQUESTS, SAMPLING):
        for one in batch:
            assert "<|" not in one.response


def test_a_full_disk_keeps_the_responses_that_were_written(engine, tmp_path):
    whole = answer(engine, REQUESTS, SAMPLING, tmp_path / "whole", words="teacher")
    log = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file of this process may grow beyond 2,000 bytes, which is in the middle of the second or third batch.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(StorageError, match=r"log: could not be written .* responses so far are kept"):
            answer(engine, REQUESTS, SAMPLING, log, words="teacher")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.stat().st_size == 2000
    assert answer(engine, REQUESTS, SAMPLING, log, words="teacher") == whole


FOLLOWS = {
    "model": "The", "The": "answer", "answer": "is", "is": "18", "18": ".", ".": "<end_turn>", "<end_turn>": "<turn>",
    "<turn>": "user", "user": "Final", "Final": "5", "5": "<end_turn>",
}  # fmt: skip
WORDS = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<turn>",
    "<end_turn>",
    "<unk>",
    "user",
    "model",
    "Q",
    *["The", "answer", "is", "18", ".", "Final", "5"],
]
TURNS = (
    "<bos> {% for m in messages %}<turn> {{ 'model' if m.role == 'assistant' else 'user' }} {{ m.content }} <end_turn> "
    "{% endfor %}{% if add_generation_prompt %}<turn> model{% endif %}"
)


def scripted_folder(folder, *, ends, template=TURNS):
    """A model whose every next token follows from the last: it says "The answer is 18 ." and opens a user's turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(WORDS)}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    core.decoder, core.pre_tokenizer = decoders.Fuse(), pre_tokenizers.Split(" ", "removed")
    PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        additional_special_tokens=["<turn>", "<end_turn>"], chat_template=template,
    ).save_pretrained(folder)  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=len(WORDS) + len(WORDS) % 2, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, head_dim=8, max_position_embeddings=128,
        tie_word_embeddings=False, bos_token_id=2, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.model.embed_tokens.weight[:, : len(WORDS)] = torch.eye(len(WORDS))
        for first, second in FOLLOWS.items():
            model.lm_head.weight[ids[second], ids[first]] = 9.0
    model.generation_config = GenerationConfig(
        bos_token_id=2, pad_token_id=0, eos_token_id=[ids[word] for word in ends]
    )
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("ends", "template", "said", "tokens"),
    [
        (["<eos>"], TURNS, "Theansweris18.", 6),  # the template's own end
        (["<eos>", "<end_turn>"], TURNS, "Theansweris18.", 6),
        # A template that ends no turn: the generation configuration does, by the token that opens the user's.
        (["<eos>", "<turn>"], TURNS.replace("<end_turn> ", ""), "Theansweris18.<end_turn>", 7),
        (["<eos>", "is"], TURNS, "Theanswer", 3),
    ],
)
def test_a_response_ends_where_its_turn_does(tmp_path, ends, template, said, tokens):
    engine = LocalEngine(scripted_folder(tmp_path / "m", ends=ends, template=template), file="x")
    (batch,) = engine.generate(
        [replace(REQUESTS[0], prompt="Q", temperature=0.0)], SAMPLING.model_copy(update={"max_new_tokens": 24})
    )
    assert (batch[0].finish_reason, batch[0].response_tokens) == ("stop", tokens)
    assert batch[0].response == said.replace("<end_turn>", "")
