"""The demonstration's assets can be made again, and are what the command makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import retort.demo
from retort.demo import make
from retort.io.files import content_hash
from retort.io.rows import read_records
from retort.modeling.loading import check_folder, load_model, load_tokenizer, model_size

ASSETS = Path(retort.demo.__file__).parent / "assets"


@pytest.fixture(scope="module")
def tokenizer():
    return make.train_tokenizer()


def test_the_tokenizer_writes_back_what_it_reads(tokenizer):
    import random

    from retort.demo.task import draw_problem, write_solution

    rng = random.Random(9)
    texts = [
        text
        for _ in range(50)
        for problem in [draw_problem(rng)]
        for text in (problem.prompt, write_solution(problem, rng))
    ]
    for text in [*texts, "", "  two  spaces\n\n", "zwölf 🙂 №", "12345+-=####"]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_numbers_are_read_digit_by_digit(tokenizer):
    assert [tokenizer.decode([token]) for token in tokenizer("1024").input_ids] == ["1", "0", "2", "4"]


def test_prompts_are_distinct_and_the_same_each_time():
    rows = list(make.prompts(200))
    assert len({row["question"] for row in rows}) == 200
    assert rows == list(make.prompts(200))


def test_the_shipped_prompts_are_those_that_the_command_makes():
    lines = (ASSETS / "prompts.jsonl").read_text().splitlines()
    drawn = list(make.prompts(make.PROMPTS + make.UNLABELLED))
    assert [json.loads(line) for line in lines] == drawn[: make.PROMPTS]
    free = [record for _, record in read_records(ASSETS / "unlabelled.jsonl.gz")]
    assert free == [{"question": row["question"]} for row in drawn[make.PROMPTS :]]


@pytest.mark.parametrize("name", ["teacher", "base"])
def test_the_shipped_tokenizers_are_those_that_the_command_makes(tokenizer, tmp_path, name):
    tokenizer.save_pretrained(tmp_path)
    found = load_tokenizer(ASSETS / name)
    assert found.get_vocab() == tokenizer.get_vocab()
    assert found.chat_template == make.CHAT_TEMPLATE
    assert content_hash(ASSETS / name / "tokenizer.json") == content_hash(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(("name", "recipe"), [("teacher", make.TEACHER), ("base", make.BASE)])
def test_ten_steps_of_the_recipe_give_the_losses_that_were_recorded(tokenizer, name, recipe):
    recorded = json.loads((ASSETS / "losses.json").read_text())[name]
    assert len(recorded) == make.FIRST_LOSSES
    model, losses = make.train(tokenizer, recipe, name, steps=make.FIRST_LOSSES)
    assert losses == pytest.approx(recorded, abs=1e-3)
    check_folder(ASSETS / name)
    shipped = load_model(ASSETS / name)
    assert shipped.config.to_dict()["hidden_size"] == recipe.hidden_size
    assert model_size(shipped) == model_size(model)
