"""What the cache of responses is asked in every way that a project changes, and finds in every state of a store."""

from __future__ import annotations

import gzip
import json
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from retort.config.data import SamplingConfig
from retort.config.endpoint import EndpointConfig
from retort.engines.base import Request, plan_requests
from retort.engines.endpoint import EndpointEngine
from retort.engines.log import answer
from retort.engines.response_cache import name_of
from retort.errors import BudgetError, StoreAwayError
from retort.io import outages
from retort.io.objects import Objects
from retort.io.outages import patient
from tests.endpoint_stand_in import draws

SAMPLING = SamplingConfig(temperatures=[0.5, 1.0], samples=2, max_new_tokens=7)
ROWS = [{"prompt_id": f"p{index}", "prompt": f"what is {index} ?"} for index in range(3)]


def plan(rows=ROWS, seed=0, stage="teacher_responses", **more):
    return plan_requests(rows, SAMPLING.model_copy(update=more), seed=seed, stage=stage)


def with_form(form, text, requests):
    return [replace(one, form=form, prompt=text(one.prompt)) for one in requests]


def turns(*roles):
    """A conversation as JSON whose last turn is the prompt."""
    return lambda prompt: json.dumps([{"role": role, "content": prompt} for role in roles])


@pytest.fixture
def asked(serve, tmp_path):
    """Runs a task with a log of its own and a store of all: responses by key, and how many requests were sent."""
    store, logs = Objects.of(str(tmp_path / "store"), "responses"), iter(range(99))
    server = serve(say=draws)

    def run(requests, sampling=SAMPLING, *, log=None, store=store, **more):
        before = len(server.asked)
        config = EndpointConfig(**({"base_url": server.url, "model": "m", "api_key_env": None} | more))
        log = log or tmp_path / f"log-{next(logs)}.jsonl"
        try:
            with EndpointEngine(config, store=store) as engine:
                found = answer(engine, requests, sampling, log, words="teacher")
        finally:
            run.sent = len(server.asked) - before
        return {one.key: one for one in found}, run.sent

    run.store, run.server = store, server
    return run


def part_of(store):
    (part,) = [name for name in store.names() if "part-" in name]
    return part


FIRST = {
    "settings": {"extra_body": {"b": {"y": 1, "x": 2}, "a": 1}, "template_arguments": {"k": True, "j": "v"}},
    "sampling": SAMPLING.model_copy(update={"top_p": 0.9}),
}
SAME = FIRST["settings"]
"""How the first of two tasks asks, where the second differs in one thing."""

NOTHING_NEW = {
    "the same": (plan(), SAME, {}),
    "the prompts in another order": (plan(ROWS[::-1]), SAME, {}),
    "one prompt of three": (plan(ROWS[1:2]), SAME, {}),
    "other ids": (plan([row | {"prompt_id": f"x{row['prompt_id']}"} for row in ROWS]), SAME, {}),
    "ids of another kind": (plan([row | {"prompt_id": "#/ü " + row["prompt_id"]} for row in ROWS]), SAME, {}),
    "the requests in another order": (plan()[::-1], SAME, {}),
    "another stage": (plan(stage="student_responses"), SAME, {}),
    "temperatures in another order": (plan(temperatures=[1.0, 0.5]), SAME, {}),
    "temperatures as integers": (plan(temperatures=[0.5, 1]), SAME, {}),
    "one temperature of two": (plan(temperatures=[0.50]), SAME, {}),
    "fewer samples": (plan(samples=1), SAME, {}),
    "fields of the body in another order": (
        plan(),
        SAME | {"extra_body": {"a": 1, "b": {"x": 2, "y": 1}}, "template_arguments": {"j": "v", "k": True}},
        {},
    ),
    "concurrency": (plan(), SAME | {"concurrency": 1}, {}),
    "prices": (plan(), SAME | {"prompt_cost": 3, "response_cost": 9.5}, {}),
    "patience": (plan(), SAME | {"timeout_s": 5, "max_retries": 0}, {}),
    "headers": (plan(), SAME | {"headers": {"X-Team": "a"}}, {}),
    "a budget": (plan(), SAME | {"budget": {"requests": 1, "tokens": 1, "cost": 0.1}, "prompt_cost": 1}, {}),
    "missing share": (plan(), SAME | {"max_missing_share": 1}, {}),
    "no probe": (plan(), SAME | {"probe": False}, {}),
    "batch size": (plan(), SAME, {"batch_size": 1}),
    "as a conversation": (with_form("conversation", turns("user"), plan()), SAME, {}),
}
NEW = {
    "one prompt more": (plan([*ROWS, {"prompt_id": "p3", "prompt": "and ?"}]), SAME, {}, 4),
    "one prompt changed": (plan([*ROWS[:2], {"prompt_id": "p2", "prompt": "what is 2?"}]), SAME, {}, 4),
    "a space at a prompt's end": (plan([{"prompt_id": "p0", "prompt": "what is 0 ? "}]), SAME, {}, 4),
    "a sample more": (plan(samples=3), SAME, {}, 6),
    "a temperature more": (plan(temperatures=[0.5, 1.0, 0]), SAME, {}, 6),
    "a temperature twice": (plan(temperatures=[0.5, 1.0, 0.5]), SAME, {}, 6),
    "a temperature a little higher": (plan(temperatures=[0.5000001]), SAME, {}, 6),
    "the seed": (plan(seed=1), SAME, {}, 12),
    "the model's alias": (plan(), SAME | {"model": "m-latest"}, {}, 12),
    "the model's case": (plan(), SAME | {"model": "M"}, {}, 12),
    "a system prompt": (plan(), SAME | {"system": "be brief"}, {}, 12),
    "an empty system prompt": (plan(), SAME | {"system": ""}, {}, 12),
    "a template argument": (plan(), SAME | {"template_arguments": {"k": False, "j": "v"}}, {}, 12),
    "no template arguments": (plan(), {"extra_body": SAME["extra_body"]}, {}, 12),
    "a field of the body": (plan(), SAME | {"extra_body": {"a": 1, "b": {"y": 1, "x": 3}}}, {}, 12),
    "a field of the body as text": (plan(), SAME | {"extra_body": {"a": "1", "b": {"y": 1, "x": 2}}}, {}, 12),
    "a list of the body in another order": (plan(), SAME | {"extra_body": {"a": [2, 1]}}, {}, 12),
    "tags": (plan(), SAME | {"reasoning_tags": ("<r>", "</r>")}, {}, 12),
    "more tokens": (plan(), SAME, {"max_new_tokens": 8}, 12),
    "fewer tokens": (plan(), SAME, {"max_new_tokens": 6}, 12),
    "the nucleus": (plan(), SAME, {"top_p": 1.0}, 12),
    "log-probabilities": (plan(), SAME, {"logprobs": True}, 12),
    "a text to stop at": ([replace(one, stop=("\n",)) for one in plan()], SAME, {}, 12),
    "as text to continue": ([replace(one, form="text") for one in plan()], SAME, {}, 12),
    "a system turn before it": (with_form("conversation", turns("system", "user"), plan()), SAME, {}, 12),
    "an assistant's turn": (with_form("conversation", turns("assistant"), plan()), SAME, {}, 12),
    "a judge's draw": ([replace(one, draw=7, number=None) for one in plan()], SAME, {}, 12),
}


def test_what_changes_no_response_asks_nothing_again(asked):
    first, _ = asked(plan(), FIRST["sampling"], **SAME)
    texts = {(one.prompt, one.temperature, one.number): first[one.key].response for one in plan()}
    for words, (requests, settings, change) in NOTHING_NEW.items():
        found, sent = asked(requests, FIRST["sampling"].model_copy(update=change), **settings)
        assert sent == 0, words
        assert found.keys() == {one.key for one in requests}, words
        plain = {one.key: one for one in requests}
        for key, response in found.items():
            prompt = plain[key].prompt if plain[key].form == "message" else json.loads(plain[key].prompt)[-1]["content"]
            assert response.response == texts[prompt, plain[key].temperature, plain[key].number], words


def test_what_is_new_is_asked_for_and_only_that(asked):
    asked(plan(), FIRST["sampling"], **SAME)
    before = asked.store.names()
    for words, (requests, settings, change, new) in NEW.items():
        sampling = FIRST["sampling"].model_copy(update=change)
        found, sent = asked(requests, sampling, **settings)
        assert (sent, found.keys()) == (new, {one.key for one in requests}), words
        assert asked(requests, sampling, **settings) == (found, 0), words
        asked.store.remove(*set(asked.store.names()) - set(before))


def test_every_request_of_a_plan_has_a_name_of_its_own():
    for temperatures in ([0.7, 0.7], [1, 1.0, 0.5, 1], [0.0, 0.0]):
        requests = plan(temperatures=temperatures, samples=3)
        assert len({name_of(one) for one in requests}) == len(requests)


def test_prompts_in_any_script_are_found_again_and_apart(asked):
    texts = [
        "\u00e9",
        unicodedata.normalize("NFD", "\u00e9"),
        "\U0001f600",
        "\u202eabc",
        "a\u2028b",
        "\x00\x1b[31m",
        "a\r\nb",
    ]
    rows = [{"prompt_id": str(place), "prompt": text} for place, text in enumerate(texts)]
    requests = plan(rows)
    first, sent = asked(requests)
    assert sent == len(texts) * 4
    assert asked(requests) == (first, 0)


def edited(change):
    """A part whose lines are changed and which is packed again, under its old name."""

    def damage(data):
        lines = [json.dumps(change(json.loads(line))) for line in gzip.decompress(data).splitlines()]
        return gzip.compress("".join(line + "\n" for line in lines).encode())

    return damage


def flipped(place):
    def damage(data):
        return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]

    return damage


def swapped(data):
    """Names of the first and the last response exchanged."""
    rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    rows[0]["name"], rows[-1]["name"] = rows[-1]["name"], rows[0]["name"]
    return gzip.compress("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())


DAMAGES = {
    "nothing in it": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "all but the check": lambda data: data[:-8],
    "more behind it": lambda data: data + b"more",
    "twice": lambda data: data + data,
    "not packed": gzip.decompress,
    "fewer lines": lambda data: gzip.compress(b"\n".join(gzip.decompress(data).split(b"\n")[:3])),
    "an error page": lambda _: b"<html>502</html>",
    "JSON too deep": lambda _: gzip.compress(b"[" * 100_000),
    "another text": edited(lambda row: row | {"response": row["response"] | {"response": "18"}}),
    "another model": edited(lambda row: row | {"response": row["response"] | {"model": "x"}}),
    "a name that is none": edited(lambda row: row | {"name": [1]}),
    "names exchanged": swapped,
    **{f"a bit at {place}": flipped(place) for place in (0, 2, 3, 10, 11, 15, 20, 40, 80, 120, -1, -5, -8)},
}


def test_a_damaged_part_is_not_believed_but_named_and_asked_for_again(asked, caplog):
    first, _ = asked(plan())
    part = part_of(asked.store)
    whole = asked.store.read(part)
    for words, damage in DAMAGES.items():
        asked.store.write(part, damage(whole))
        caplog.clear()
        assert asked(plan()) == (first, 12), words
        assert part in caplog.text, words
        asked.store.remove(*asked.store.names())


def test_a_part_of_another_model_is_not_believed_though_it_is_whole(asked, caplog):
    asked(plan(), model="other")
    foreign = part_of(asked.store)
    first, _ = asked(plan(), log=None)
    folder = {name.split("/")[0] for name in asked.store.names()} - {foreign.split("/")[0]}
    (mine,) = [name for name in asked.store.names() if name.split("/")[0] in folder and "part-" in name]
    asked.store.write(f"{folder.pop()}/{foreign.split('/')[1]}", asked.store.read(foreign))
    asked.store.remove(mine)
    assert asked(plan()) == (first, 12)
    assert "12 of its 12 responses are none to what is asked here" in caplog.text


def test_what_stands_for_no_response_is_not_believed(asked):
    first, _ = asked(plan())
    part = part_of(asked.store)
    rows = [json.loads(line) for line in gzip.decompress(asked.store.read(part)).splitlines()]
    asked.store.remove(part)
    from retort.engines.response_cache import _part_name

    rows[0]["response"]["finish_reason"] = "refused"
    content = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()
    asked.store.write(f"{part.split('/')[0]}/{_part_name(content)}", gzip.compress(content))
    assert asked(plan()) == (first, 1)


def test_parts_of_before_they_said_whose_they_are_are_read(asked):
    first, _ = asked(plan())
    part = part_of(asked.store)
    rows = [json.loads(line) for line in gzip.decompress(asked.store.read(part)).splitlines()]
    asked.store.remove(part)
    from retort.engines.response_cache import _part_name

    content = "".join(json.dumps({k: v for k, v in row.items() if k != "of"}) + "\n" for row in rows).encode()
    asked.store.write(f"{part.split('/')[0]}/{_part_name(content)}", gzip.compress(content))
    assert asked(plan()) == (first, 0)


def test_other_files_in_its_folder_are_passed_over(asked):
    first, _ = asked(plan())
    folder = part_of(asked.store).split("/")[0]
    for name in ("README.md", "part-1.jsonl.gz.tmp", "more/x.txt"):
        asked.store.write(f"{folder}/{name}", b"?")
    assert asked(plan()) == (first, 0)


def test_tasks_that_ask_the_same_at_once_disturb_neither_each_other_nor_the_store(asked):
    with ThreadPoolExecutor(4) as pool:
        results = [done.result()[0] for done in [pool.submit(asked, plan()) for _ in range(4)]]
    assert all(one == results[0] for one in results)
    assert asked(plan()) == (results[0], 0)


def test_a_budget_that_ended_a_task_goes_on_with_a_larger_one_and_pays_nothing_twice(asked, tmp_path):
    log = tmp_path / "log"
    with pytest.raises(BudgetError):
        asked(plan(), log=log, concurrency=1, budget={"requests": 5})
    assert asked.sent == 5
    with pytest.raises(BudgetError):  # the five of before count, though they need not be asked again
        asked(plan(), log=log, concurrency=1, budget={"requests": 7})
    assert asked.sent == 2
    with pytest.raises(BudgetError):  # another task, with its own budget, which needs none for what the cache has
        asked(plan(), concurrency=1, budget={"requests": 1})
    assert asked.sent == 1
    assert asked(plan(), log=log, concurrency=1, budget={"requests": 12})[1] == 4
    assert asked(plan(), budget={"requests": 1})[1] == 0


def test_a_damaged_count_of_what_was_spent_is_made_up_for_and_said(asked, tmp_path, caplog):
    log = tmp_path / "log"
    with pytest.raises(BudgetError):
        asked(plan(), log=log, concurrency=1, budget={"requests": 5})
    for text in ("", "{", "[]", "null", '{"requests": "x"}', '{"requests": null}', '{"requests": -9}'):
        log.with_suffix(".spent.json").write_text(text)
        caplog.clear()
        with pytest.raises(BudgetError):
            asked(plan(), log=log, concurrency=1, budget={"requests": 5})
        assert asked.sent == 0, text
        assert "is damaged; what was spent is counted from the 5 responses" in caplog.text, text


class Refusing(Objects):
    """A store that is read and takes nothing; it notes how long each write would have been tried again."""

    patience = []

    def write(self, name, content, *, verified=False):
        self.patience.append(outages._patience.get())
        raise StoreAwayError(f"{name}: 403")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_serves_what_it_has(asked, tmp_path, caplog):
    first, _ = asked(plan())
    for folder in (tmp_path / "store").rglob("*"):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    assert asked(plan()) == (first, 0)
    assert asked(plan(seed=1))[1] == 12
    assert "cannot be kept" in caplog.text


def test_a_store_that_takes_nothing_serves_what_it_has_and_is_not_waited_for_while_responses_are_under_way(
    asked, monkeypatch, caplog
):
    first, _ = asked(plan())
    store = Refusing(asked.store.files, asked.store.folder)
    monkeypatch.setattr("retort.engines.response_cache._PART_RESPONSES", 2)
    assert asked(plan(), store=store) == (first, 0)
    with patient(60.0):
        assert asked(plan(seed=1), store=store)[1] == 12
    assert store.patience == [0, 60]  # once in the middle, for the pause grows, and at the end for as long as all else
    assert caplog.text.count("cannot be kept in the object store") == 1
    assert asked(plan(seed=1))[1] == 12


def test_a_store_that_was_away_gets_what_it_missed_as_soon_as_it_is_back(asked, monkeypatch):
    tries = []

    class Flapping(Objects):
        def write(self, name, content, *, verified=False):
            tries.append(name)
            if len(tries) < 3:
                raise StoreAwayError(f"{name}: away")
            super().write(name, content)

    monkeypatch.setattr("retort.engines.response_cache._PART_S", 0.0)
    first, _ = asked(plan(), store=Flapping(asked.store.files, asked.store.folder), concurrency=1)
    assert len(tries) > 3
    assert asked(plan()) == (first, 0)


def test_what_was_drawn_at_a_temperature_that_nobody_knows_is_said_when_it_is_found_again(serve, asked, caplog):
    refusing = serve(refuse=lambda body: (400, "temperature is not supported") if "temperature" in body else None)
    first, _ = asked(plan(), base_url=refusing.url)
    assert {one.temperature for one in first.values()} == {-1.0, 1.0}
    assert asked(plan()) == (first, 0)
    assert "6 of them were drawn at the temperature of an endpoint" in caplog.text


def test_a_judge_and_a_teacher_of_one_model_are_asked_apart(asked):
    teacher, _ = asked(plan())
    judge = [Request("p0/grade-x", "what is 0 ?", number, 0.5, 9, form="conversation", draw=3) for number in range(2)]
    judge = with_form("conversation", turns("user"), judge)
    judged, sent = asked(judge)
    assert sent == 2
    assert {one.key for one in judged.values()} == {one.key for one in judge}
    assert asked(plan()) == (teacher, 0)
