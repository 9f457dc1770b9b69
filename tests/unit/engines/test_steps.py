"""Steps of a captured graph against plain steps; on a CPU the same steps run without a graph."""

import pytest
import torch

from retort.engines import sampler, steps
from retort.engines.sampler import sample

PROMPTS = [[5 + row % 9] * (1 + row % 7) for row in range(24)]


def decode(model, monkeypatch, kind, *, new=20, temperature=1.0, eos=-1):
    made = []

    def decoding_steps(*arguments):
        made.append(kind(*arguments))
        return made[-1]

    monkeypatch.setattr(sampler, "decoding_steps", decoding_steps)
    found = sample(
        model,
        PROMPTS,
        temperature=temperature,
        max_new_tokens=new,
        eos_token_id=eos,
        pad_token_id=0,
        generator=torch.Generator().manual_seed(0),
        batch_size=len(PROMPTS),
    )
    return found, made


def often(samples):
    """A token that many responses hold, in many places."""
    return max(range(320), key=lambda token: len({one.ids.index(token) for one in samples if token in one.ids}))


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return torch.device(request.param)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
@pytest.mark.parametrize("columns", [4, 256])
def test_a_fixed_cache_gives_the_same_samples_while_it_grows_and_rows_leave(
    tiny_model, monkeypatch, device, architecture, columns
):
    monkeypatch.setattr(steps, "_COLUMNS", columns)
    monkeypatch.setattr(steps.GraphSteps, "compact_share", 0.1)
    model = tiny_model(architecture).to(device)
    eos = often(decode(model, monkeypatch, steps.PlainSteps)[0])
    plain, _ = decode(model, monkeypatch, steps.PlainSteps, eos=eos)
    fixed, made = decode(model, monkeypatch, steps.GraphSteps, eos=eos)
    assert len({len(one.ids) for one in plain}) > 4
    assert [(one.ids, one.finished) for one in fixed] == [(one.ids, one.finished) for one in plain]
    for one, other in zip(fixed, plain, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0)
    assert len(made[0].token) < len(PROMPTS), "rows left"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_autocast_sees_the_weights_of_now_in_every_replay(tiny_model, monkeypatch):
    model = tiny_model("llama").to("cuda")
    for _ in range(2):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            plain, _ = decode(model, monkeypatch, steps.PlainSteps, temperature=0.0)
            fixed, made = decode(model, monkeypatch, steps.GraphSteps, temperature=0.0)
        assert made[0].graph is not None
        gaps = [abs(a.logprobs[0] - b.logprobs[0]) for a, b in zip(plain, fixed, strict=True)]
        assert max(gaps) < 0.05
        with torch.no_grad():
            model.model.embed_tokens.weight.mul_(0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_cannot_be_given_a_mask_of_its_own_is_decoded_by_plain_steps(tiny_model):
    for architecture, kind in (("llama", steps.GraphSteps), ("gemma2", steps.PlainSteps)):
        model = tiny_model(architecture).to("cuda")
        mask, positions = torch.ones(2, 8, dtype=torch.long, device="cuda"), torch.full((2,), 3, device="cuda")
        cache = model(input_ids=torch.ones(2, 3, dtype=torch.long, device="cuda"), use_cache=True).past_key_values
        assert type(steps.decoding_steps(model, cache, mask, positions, 3)) is kind
