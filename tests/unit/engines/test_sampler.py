"""The sampler against full forward passes without padding or cache."""

from __future__ import annotations

import pytest
import torch

from retort.engines.sampler import choose, sample
from retort.modeling.abilities import abilities_of

PROMPTS = [[7, 8, 9], [7, 8, 9], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], [21], [7, 8, 9], [30, 31, 32, 33]]


def run(model, prompts=PROMPTS, *, temperature=0.0, seed=0, batch_size=4, new=20, eos=1, **more):
    generator = torch.Generator().manual_seed(seed)
    return sample(
        model,
        prompts,
        temperature=temperature,
        max_new_tokens=new,
        eos_token_id=eos,
        pad_token_id=0,
        generator=generator,
        batch_size=batch_size,
        **more,
    )


def full_pass(model, prompt, response, temperature=1.0):
    """Log-probabilities of the whole vocabulary at each response token, from one pass without padding or cache."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits.float() / temperature).log_softmax(-1)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gemma2"])
def test_greedy_tokens_and_logprobs_equal_a_full_forward_pass(tiny_model, architecture):
    model = tiny_model(architecture)
    for prompt, one in zip(PROMPTS, run(model), strict=True):
        logprobs = full_pass(model, prompt, one.ids)
        assert one.ids == logprobs.argmax(-1).tolist()
        expected = logprobs.gather(1, torch.tensor(one.ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2", "gemma2"])
def test_sampled_logprobs_are_those_at_the_temperature_before_top_p(tiny_model, architecture):
    model = tiny_model(architecture)
    for prompt, one in zip(PROMPTS, run(model, temperature=0.7, top_p=0.8), strict=True):
        expected = full_pass(model, prompt, one.ids, 0.7).gather(1, torch.tensor(one.ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_batch_size_changes_nothing(tiny_model, architecture, temperature):
    model = tiny_model(architecture)
    expected = run(model, temperature=temperature, batch_size=1)
    for batch_size in (2, 3, 6):
        found = run(model, temperature=temperature, batch_size=batch_size)
        assert [one.ids for one in found] == [one.ids for one in expected]


def test_rows_that_leave_at_different_steps_do_not_disturb_the_others(tiny_model):
    model = tiny_model()
    prompts = [[index + 5] for index in range(40)]
    unended = run(model, prompts, temperature=1.0, batch_size=40, eos=-1)
    # With a token that occurs at many places as the end token, each row must be cut there and else be the same.
    eos = max(range(320), key=lambda token: len({one.ids.index(token) for one in unended if token in one.ids}))
    ended = run(model, prompts, temperature=1.0, batch_size=40, eos=eos)
    cuts = [one.ids.index(eos) + 1 if eos in one.ids else 20 for one in unended]
    assert len(set(cuts)) > 4
    assert [one.ids for one in ended] == [one.ids[:cut] for one, cut in zip(unended, cuts, strict=True)]
    assert [one.finished for one in ended] == [eos in one.ids for one in unended]


def test_the_end_token_is_kept_and_counted(tiny_model):
    model = tiny_model()
    first = run(model, [[7, 8, 9]], eos=-1)[0].ids
    one = run(model, [[7, 8, 9]], eos=first[2])[0]
    cut = first.index(first[2]) + 1
    assert (one.ids, one.finished, len(one.logprobs)) == (first[:cut], True, cut)


def test_a_seed_gives_the_same_samples_and_another_seed_others(tiny_model):
    model = tiny_model()
    once, again, other = (run(model, temperature=1.0, seed=seed) for seed in (3, 3, 4))
    assert once == again
    assert [one.ids for one in once] != [one.ids for one in other]


def test_equal_prompts_get_different_samples(tiny_model):
    found = run(tiny_model(), [[7, 8, 9]] * 8, temperature=1.0, batch_size=8)
    assert len({tuple(one.ids) for one in found}) > 1


def test_training_mode_is_as_before(tiny_model):
    model = tiny_model()
    model.train()
    run(model)
    assert model.training


def test_an_empty_prompt_is_refused(tiny_model):
    with pytest.raises(ValueError, match="empty prompt"):
        run(tiny_model(), [[7], []])


def test_choose_inverts_the_cumulative_distribution():
    # Probabilities 0.5, 0.3, 0.2: cumulative 0.5, 0.8, 1.0.
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(6, 3)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81, 0.9999999])
    token, logprob = choose(logits, 1.0, 1.0, uniform)
    assert token.tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(logprob.exp(), torch.tensor([0.5, 0.5, 0.3, 0.3, 0.2, 0.2]))


def test_top_p_keeps_the_token_that_reaches_the_mass_and_no_more():
    # Sorted 0.5, 0.3, 0.2 lie at tokens 2, 0, 1. A nucleus of 0.6 holds 2 and 0, mass 0.8; the border: 0.5/0.8 = 0.625.
    logits = torch.tensor([[0.3, 0.2, 0.5]]).log().expand(4, 3)
    token, logprob = choose(logits, 1.0, 0.6, torch.tensor([0.0, 0.62, 0.63, 0.9999999]))
    assert token.tolist() == [2, 2, 0, 0]
    torch.testing.assert_close(logprob.exp(), torch.tensor([0.5, 0.5, 0.3, 0.3]))


def test_temperature_sharpens():
    # At temperature 0.5 odds are squared: 0.8/0.2 = 4 becomes 16, probability 16/17.
    _, logprob = choose(torch.tensor([[0.8, 0.2]]).log(), 0.5, 1.0, torch.tensor([0.0]))
    assert logprob.exp().item() == pytest.approx(16 / 17, abs=1e-6)


def test_a_token_without_probability_is_never_chosen():
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]]).expand(3, 3)
    token, _ = choose(logits, 1.0, 1.0, torch.tensor([0.0, 0.5, 1 - 2**-24]))
    assert token.tolist() == [1, 1, 1]


def test_sample_frequencies_follow_the_distribution(tiny_model):
    model = tiny_model()
    found = run(model, [[7, 8, 9]] * 4000, temperature=1.0, batch_size=1000, new=1)
    expected = full_pass(model, [7, 8, 9], [0])[0].exp()
    counts = torch.bincount(torch.tensor([one.ids[0] for one in found]), minlength=len(expected))
    # Five standard errors of the most frequent tokens' counts.
    for token in expected.topk(5).indices:
        p = expected[token].item()
        assert abs(counts[token].item() - 4000 * p) < 5 * (4000 * p * (1 - p)) ** 0.5


def test_finished_rows_make_place_for_waiting_prompts(tiny_model):
    """Lengths of 1 to 40 tokens, 8 rows at once: static batches would wait for the longest of each."""
    model = tiny_model()
    draw = torch.Generator().manual_seed(0)
    prompts = [
        torch.randint(5, 300, (int(n),), generator=draw).tolist() for n in torch.randint(2, 30, (48,), generator=draw)
    ]
    passes = []
    abilities_of(model)  # whose trials are no passes to count
    watch = model.register_forward_pre_hook(
        lambda _m, _a, given: passes.append(given["input_ids"].shape), with_kwargs=True
    )
    ends = list(range(5, 25))  # 20 of 320 tokens: some responses end at once, others late
    found = run(model, prompts, temperature=1.0, batch_size=8, new=40, eos=ends)
    watch.remove()
    lengths = [len(one.ids) for one in found]
    assert min(lengths) < 4
    assert max(lengths) > 25
    steps = sum(1 for shape in passes if shape[1] == 1)
    order = sorted(range(48), key=lambda index: (-len(prompts[index]), prompts[index], index))
    static = sum(max(lengths[index] for index in order[start : start + 8]) - 1 for start in range(0, 48, 8))
    assert steps < 0.75 * static
    assert max(shape[0] for shape in passes) <= 8
    for prompt, one in zip(prompts, found, strict=True):
        expected = full_pass(model, prompt, one.ids).gather(1, torch.tensor(one.ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=0)
        assert one.finished == (one.ids[-1] in ends)


def test_samples_of_a_prompt_read_it_once(tiny_model):
    model, passes = tiny_model(), []
    abilities_of(model)
    model.register_forward_pre_hook(lambda _m, _a, given: passes.append(given["input_ids"].shape), with_kwargs=True)
    run(model, [[7, 8, 9]] * 6 + [[10, 11]] * 2, temperature=1.0, batch_size=8, new=4, eos=-1)
    assert passes[0] == (2, 3)
    assert passes[1] == (8, 1)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_seed_gives_the_same_response_whatever_the_batch(tiny_model, batch_size):
    model, ends = tiny_model(), list(range(5, 35))
    uniforms = torch.rand(6, 20, generator=torch.Generator().manual_seed(4))
    whole = run(model, temperature=1.0, uniforms=uniforms, batch_size=6, eos=ends)
    assert len({len(one.ids) for one in whole}) > 2
    for index in range(6):
        (one,) = run(
            model,
            PROMPTS[index : index + 1],
            temperature=1.0,
            uniforms=uniforms[index : index + 1],
            batch_size=1,
            eos=ends,
        )
        assert one.ids == whole[index].ids
    assert [one.ids for one in run(model, temperature=1.0, uniforms=uniforms, batch_size=batch_size, eos=ends)] == [
        one.ids for one in whole
    ]


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_responses_of_rows_that_joined_late_follow_the_distribution(tiny_model, top_p):
    """Chi-square of the second token given the first, over 6,000 responses of two tokens in batches of 512.

    Of a vocabulary of 320, tokens that are expected fewer than five times are counted together.
    """
    from scipy.stats import chi2

    model, count = tiny_model(), 6000
    found = run(model, [[7, 8, 9]] * count, temperature=0.5, top_p=top_p, batch_size=512, new=2, eos=-1, seed=3)
    first = max({one.ids[0] for one in found}, key=[one.ids[0] for one in found].count)
    seconds = [one.ids[1] for one in found if one.ids[0] == first]
    assert len(seconds) > 100
    with torch.no_grad():
        chances = (model(torch.tensor([[7, 8, 9, first]])).logits[0, -1].double() / 0.5).softmax(-1)
    if top_p < 1:
        ordered, place = chances.sort(descending=True)
        kept = place[: int((ordered.cumsum(0) < top_p).sum()) + 1]
        nucleus = torch.zeros_like(chances)
        nucleus[kept] = chances[kept]
        chances = nucleus / nucleus.sum()
    expected = chances * len(seconds)
    observed = torch.bincount(torch.tensor(seconds), minlength=len(chances)).double()
    assert not observed[chances == 0].any()
    often = expected >= 5
    cells = [(float(observed[often][i]), float(expected[often][i])) for i in range(int(often.sum()))]
    cells.append((float(observed[~often].sum()), float(expected[~often].sum())))
    statistic = sum((seen - wanted) ** 2 / wanted for seen, wanted in cells if wanted > 0)
    assert len(cells) > 3
    assert chi2.sf(statistic, len(cells) - 1) > 1e-3
