"""Every family that users bring, as a tiny random model: sampled = recomputed, packed = alone, saved = loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from retort.config.training import LoraConfig
from retort.engines.sampler import sample
from retort.errors import ModelError
from retort.modeling import logprobs
from retort.modeling.abilities import abilities_of, check_abilities, text_config
from retort.modeling.batch import pad_batch
from retort.modeling.loading import check_folder, context_length, load_model
from retort.modeling.logprobs import response_logprobs, scoring_tokens, token_logprobs
from retort.modeling.lora import WithoutAdapters, with_adapters
from retort.modeling.packing import hidden_states
from tests.unit.modeling.families import CONFIGS, VOCABULARY, model_of

_draw = torch.Generator().manual_seed(0)


def some(count: int) -> list[int]:
    return torch.randint(5, VOCABULARY, (count,), generator=_draw).tolist()


# Longer than the windows, of several lengths, some more than once.
PROMPTS = [some(count) for count in (12, 3, 7, 20)]
PROMPTS += [PROMPTS[2], PROMPTS[0], PROMPTS[2]]
RESPONSES = [some(count) for count in (5, 14, 9, 1, 11, 3, 8)]
ENDS = [2, 3]


def alone(model, prompt, response):
    """Log-probabilities of a response, from a pass over it alone."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1)


def check_sampled(model, tolerance=1e-3):
    drawn = sample(
        model,
        PROMPTS,
        temperature=0,
        max_new_tokens=12,
        eos_token_id=ENDS,
        pad_token_id=0,
        generator=None,
        batch_size=4,
    )
    for prompt, one in zip(PROMPTS, drawn, strict=True):
        each = alone(model, prompt, one.ids)
        assert one.ids == each.argmax(-1).tolist()
        expected = each.gather(1, torch.tensor(one.ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=tolerance, rtol=0)
        assert one.finished == (one.ids[-1] in ENDS)
        assert not set(one.ids[:-1]) & set(ENDS)


def check_logprobs(model):
    found = response_logprobs(model, PROMPTS, RESPONSES, pad_token_id=0)
    for prompt, response, one in zip(PROMPTS, RESPONSES, found, strict=True):
        expected = alone(model, prompt, response).gather(1, torch.tensor(response)[:, None]).squeeze(1)
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=0)


def check_parts(model):
    """Scores of a few places at a time, with the numbers and gradients of all at once."""
    whole, results = pad_batch(PROMPTS, RESPONSES, 0), []
    for most in (logprobs.PART_SCORES, 5 * VOCABULARY):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(logprobs, "PART_SCORES", most)
            found, entropies = token_logprobs(model, whole, temperature=0.8, entropy=True)
        found.sum().backward()
        results.append((found.detach(), entropies, [weight.grad for weight in model.parameters()]))
        model.zero_grad()
    (one, first, gradients), (other, second, again) = results
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)
    torch.testing.assert_close(first, second, atol=1e-4, rtol=0)
    for expected, found in zip(gradients, again, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_family_is_sampled_scored_saved_and_adapted(family, tmp_path):
    model = model_of(family)
    # Zamba 2's scan over a text and its steps are the least alike: 2e-3 between transformers' own two ways.
    check_sampled(model, tolerance=1e-2 if family == "Zamba 2" else 1e-3)
    check_logprobs(model)
    check_parts(model)
    assert abilities_of(model).splits == (family != "OPT")
    config = text_config(model)
    assert scoring_tokens(model) == 2**30 // VOCABULARY
    whole = pad_batch(PROMPTS, RESPONSES, 0)
    assert hidden_states(model, whole, whole.response_mask_BT.bool()).shape == (51, config.hidden_size)
    assert context_length(model) in (256, 2**31)
    model.save_pretrained(tmp_path)
    before = token_logprobs(model, whole)[0].detach()
    check_folder(tmp_path)
    loaded = load_model(tmp_path, device="cpu")
    torch.testing.assert_close(token_logprobs(loaded, whole)[0].detach(), before, atol=1e-5, rtol=0)
    check_adapters(loaded, whole, before)


def check_adapters(model, whole, before):
    """Adapters on change the numbers, of packed rows and of single ones alike; off, they are the model's own."""
    adapted = with_adapters(model, LoraConfig(rank=2, alpha=4))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3, generator=torch.Generator().manual_seed(1))
    found = token_logprobs(adapted, whole)[0]
    found.sum().backward()
    trained = [name for name, weight in adapted.named_parameters() if weight.grad is not None]
    assert trained
    assert all("lora_" in name for name in trained)
    assert (found - before).abs().max() > 1e-2
    row = token_logprobs(adapted, whole.rows(torch.tensor([1])))[0]
    torch.testing.assert_close(row[0], found[1, : row.shape[1]], atol=1e-4, rtol=0)
    plain = token_logprobs(WithoutAdapters(adapted), whole)[0].detach()
    torch.testing.assert_close(plain, before, atol=1e-5, rtol=0)


def test_there_are_enough_families():
    assert len(CONFIGS) >= 35


@pytest.mark.parametrize("family", ["Llama 3", "gpt-oss", "OPT", "Mamba 2", "Qwen 3.5", "Gemma 3"])
def test_sixteen_bits_find_the_same_abilities(family):
    assert abilities_of(model_of(family).to(torch.bfloat16)) == abilities_of(model_of(family))


def test_the_slower_way_is_said(caplog):
    with caplog.at_level("INFO"):
        check_abilities(model_of("OPT"), "some/opt")
    assert "some/opt: one sequence a row; a prompt for each of its responses" in caplog.text


def test_a_model_that_sees_what_comes_after_is_refused():
    import transformers as hf

    config = hf.BertConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    with pytest.raises(ModelError, match=r"some/bert: its tokens see what comes after them"):
        check_abilities(hf.AutoModelForCausalLM.from_config(config).eval(), "some/bert")


@pytest.mark.parametrize("lacks", ["caches", "pads", "selects"])
def test_a_model_that_lacks_an_ability_is_sampled_the_slower_way(lacks):
    model = model_of("Llama 2")
    able = abilities_of(model)
    lost = {"caches": {"caches", "pads", "selects"}}.get(lacks, {lacks})
    key = model._retort_abilities[0]
    model._retort_abilities = (key, type(able)(**{name: name not in lost for name in able.__dataclass_fields__}))
    check_sampled(model)


def test_an_architecture_nobody_knows_is_found_out(monkeypatch):
    """Llama, but for a mask that heeds no positions: what gpt-oss, OPT and others do."""
    from transformers.models.llama import modeling_llama

    honest = modeling_llama.create_causal_mask

    def careless(*args, **more):
        return honest(*args, **more | {"position_ids": None})

    assert abilities_of(model_of("Llama 2")).packs
    monkeypatch.setattr(modeling_llama, "create_causal_mask", careless)
    model = model_of("Llama 2")
    assert not abilities_of(model).packs
    check_logprobs(model)


PAGE = Path(__file__).parents[3] / "docs/guides/models.md"
WAYS = {
    "packs": "one sequence a row",
    "caches": "everything read again for each token",
    "pads": "prompts of one length together",
    "selects": "no row leaves a batch early",
}


def test_the_guide_says_how_each_family_is_run():
    rows = []
    for family in CONFIGS:
        model = model_of(family)
        missing = abilities_of(model).missing()
        slower = "; ".join(words for name, words in WAYS.items() if name in missing)
        verdict = f"works slower: {slower}" if slower else "works"
        rows.append(
            f"| {family} | `{model.config.model_type}` | {verdict} | {'no' if 'shares' in missing else 'yes'} |"
        )
    text = PAGE.read_text(encoding="utf-8")
    listed = [line for line in text.splitlines() if line.startswith("| ") and "` | works" in line]
    assert listed == rows, "the table in docs/guides/models.md should be:\n" + "\n".join(rows)
