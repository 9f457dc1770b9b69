"""Log-likelihoods that the harness asks for, against one forward pass of the model."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch

from retort.config.data import BenchmarkConfig, SamplingConfig
from retort.engines.local import LocalEngine
from retort.errors import InputError
from retort.modeling.chat import prompt_ids

pytestmark = pytest.mark.timeout(600)


@dataclass
class Asked:
    """What the harness asks: only what a model reads of it."""

    args: tuple
    task_name: str = "t"
    doc_id: int = 0
    idx: int = 0


@pytest.fixture
def model(tiny_model_folder, tmp_path):
    from retort.evaluation.lm import EngineLM

    engine = LocalEngine(tiny_model_folder(), file="x")

    def make(**settings):
        benchmark = BenchmarkConfig(name="b", task="arc_easy", **settings)
        return EngineLM(engine, benchmark, SamplingConfig(batch_size=2), logs=tmp_path, file="b.jsonl"), engine

    return make


def expected(engine, before, after):
    """Sum of log-probabilities of `after`, and whether each of its tokens is the most probable one."""
    logits = engine.weights(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
    places = range(len(before) - 1, len(before) + len(after) - 1)
    greedy = [int(logits[place].argmax()) for place in places] == list(after)
    return sum(float(logits[place, token]) for place, token in zip(places, after, strict=True)), greedy


@torch.inference_mode()
def test_continuations_are_scored_as_one_forward_pass_scores_them(model):
    lm, engine = model(chat=False)
    asked = [
        Asked(("39 + 25 = ", "64"), doc_id=0),
        Asked(("How many clips", " altogether ?"), doc_id=1),
        Asked(("", "Dan")),
    ]
    found = lm.loglikelihood(asked)
    tokenizer = engine.tokenizer
    for (context, continuation), (score, greedy) in zip([one.args for one in asked], found, strict=True):
        if context:
            before = tokenizer(context.rstrip()).input_ids  # white space belongs to what follows
            after = tokenizer(context + continuation).input_ids[len(before) :]
        else:
            before, after = [tokenizer.eos_token_id], tokenizer(continuation).input_ids
        value, best = expected(engine, before, after)
        assert score == pytest.approx(value, abs=1e-4)
        assert greedy is best
    assert lm.usage["t", 1].prompt_tokens == len(tokenizer("How many clips altogether ?").input_ids)


@torch.inference_mode()
def test_the_greedy_continuation_is_recognised(model):
    lm, engine = model(chat=False)
    seen = set()
    for context in ("39 + 25", "Dan has 39", "How many", "Dan buys 25 more", "clips in May"):
        before = engine.tokenizer(context).input_ids
        likely = engine.weights(torch.tensor([before])).logits[0, -1].argsort(descending=True)[:2].tolist()
        for rank, token in enumerate(likely):
            text = engine.tokenizer.decode([token])
            if engine.tokenizer(context + text).input_ids == [*before, token]:  # it reads back alone
                assert lm.loglikelihood([Asked((context, text))])[0][1] is (rank == 0)
                seen.add(rank)
    assert seen == {0, 1}


@torch.inference_mode()
def test_in_chat_format_the_continuation_follows_the_template(model):
    lm, engine = model()
    context = lm.apply_chat_template([{"role": "user", "content": "2 cards ?"}])
    ((score, _),) = lm.loglikelihood([Asked((context, "4"))])
    before = prompt_ids(engine.tokenizer, "2 cards ?")
    assert score == pytest.approx(expected(engine, before, engine.tokenizer("4").input_ids)[0], abs=1e-4)
    assert json.loads(context) == [{"role": "user", "content": "2 cards ?"}]


@torch.inference_mode()
def test_a_text_longer_than_the_context_is_scored_in_windows_each_token_once(model):
    lm, engine = model(chat=False)
    engine.context = 8
    text = "Natalia sold 48 clips in May. How many clips now ?"
    tokens = engine.tokenizer(text).input_ids
    assert len(tokens) > 16
    # The first window predicts 8 tokens after the end token; each later one of 8 predicts what comes after the last.
    total, done = expected(engine, [engine.tokenizer.eos_token_id], tokens[:8])[0], 8
    while done < len(tokens):
        end = min(done + 8, len(tokens))
        after = tokens[done:end]
        before = tokens[end - 8 - 1 : done]
        total += expected(engine, before, after)[0]
        done = end
    assert lm.loglikelihood_rolling([Asked((text,))]) == [pytest.approx(total, abs=1e-3)]


def test_a_context_that_is_too_long_is_refused_with_the_item(model):
    lm, _ = model(chat=False)
    with pytest.raises(InputError, match=r"b.jsonl, field 'prompt': prompt 't-3' has .*context of 256"):
        lm.loglikelihood([Asked(("clips " * 400, "64"), doc_id=3)])


@torch.inference_mode()
def test_multiple_choice_takes_the_likelier_option(model, tmp_path):
    from retort.evaluation.harness import run_benchmark

    _, engine = model()
    rows = [
        {"question": f"{n} and {n} ?", "choices": {"text": ["sold", "cards", "May"], "label": ["A", "B", "C"]}}
        | {"answerKey": letter}
        for n, letter in enumerate("ABC")
    ]
    (tmp_path / "arc.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = BenchmarkConfig(name="arc", task="arc_easy", chat=False, num_fewshot=0, data={"test": "arc.jsonl"})
    found = run_benchmark(benchmark, engine, SamplingConfig(batch_size=4), root=tmp_path, logs=tmp_path).rows
    for row, item in zip(found, rows, strict=True):
        before = engine.tokenizer(f"Question: {item['question']}\nAnswer:").input_ids
        scores = [
            expected(engine, before, engine.tokenizer(" " + text).input_ids)[0] for text in item["choices"]["text"]
        ]
        best = scores.index(max(scores))
        assert row["read"] == item["choices"]["text"][best]
        assert row["correct"] is ("ABC"[best] == item["answerKey"])
        assert (row["score"], row["response"], row["response_tokens"]) == (float(row["correct"]), "", 0)
        assert row["prompt_tokens"] > 3 * len(before)
