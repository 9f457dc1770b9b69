"""A teacher behind an endpoint that is dead, slow or flaps; a stage that is killed: every row once, none missing."""

from __future__ import annotations

import json
import random
import time
from collections import Counter

import pytest

from retort.errors import RETRY, BudgetError, RetortError
from retort.io import tables
from retort.run.stage import run_stage
from tests.conftest import write_params
from tests.endpoint_stand_in import Server, serving, text_of
from tests.faults.proxy import FaultProxy
from tests.faults.table import FULL
from tests.stage_processes import StageProcesses

DEAD_S = 60.0 if FULL else 3.0
PROMPTS = 60 if FULL else 24
SAMPLES = 2
TROUBLES = {
    "dead": f"no connection for {DEAD_S:.0f} s in the middle",
    "silent": f"connections are taken and nothing is answered for {DEAD_S:.0f} s in the middle",
    "slow": "every third answer comes after the client's time-out",
    "flapping": "half a second of answers, half a second of 503, by turns",
    "answers lost": "every fifth answer is paid for and never arrives",
}


class Teacher:
    """An endpoint behind a proxy, which knows what was answered and arrived."""

    def __init__(self, server: Server, proxy: FaultProxy) -> None:
        self.server, self.proxy = server, proxy
        self.arrived: Counter[str] = Counter()
        self.again: list[str] = []
        """Asked though an answer had arrived before."""

    def watch(self) -> None:
        """Let the proxy note what passes."""
        proxy, fault = self.proxy, self.proxy.fault_of

        def noted(method: str, path: str, body: bytes) -> tuple[str, float]:
            key = key_of(body)
            kind, place = fault(method, path, body)
            with proxy.lock:
                if self.arrived[key] and key:
                    self.again.append(key)
                self.arrived[key] += kind in ("", "slow answer") and bool(key)
            return kind, place

        proxy.fault_of = noted  # type: ignore[method-assign]


def key_of(body: bytes) -> str:
    """Names a request of the stage; empty for a question of the probe."""
    asked = json.loads(body)
    text = text_of(asked)
    return f"{text} {asked.get('seed')}" if text.startswith("card ") else ""


@pytest.fixture
def stage(tmp_path, tiny_model_folder):
    """`stage(url, **engine)`: run the stage once more in the same workspace; its metrics."""
    tiny_model_folder(name="student")
    rows = [
        {"prompt_id": f"p{n}", "prompt": f"card {n} ?", "answer": None, "source": "x", "row": n} for n in range(PROMPTS)
    ]
    tables.write_table(tmp_path / "outputs/prompts/train.parquet", rows[10:], tables.PROMPTS)
    tables.write_table(tmp_path / "outputs/prompts/validation.parquet", rows[:10], tables.PROMPTS)

    def configure(url, **engine):
        engine = {
            "type": "openai",
            "base_url": f"{url}/v1",
            "model": "m",
            "api_key_env": None,
            "max_retries": 1,
            "timeout_s": 1.0,
            "concurrency": 4,
            **engine,
        }
        sampling = {"shards": [0], "temperatures": [1.0], "samples": SAMPLES, "max_new_tokens": 8}
        models = {"teacher": {"engine": engine}, "base": {"source": "student"}}
        write_params(tmp_path, models=models, teacher_responses=sampling)
        run_stage("models", {}, tmp_path)

    def run():
        return run_stage("teacher_responses", {"shard": "0"}, tmp_path)

    run.configure, run.root = configure, tmp_path
    return run


def responses(root):
    rows = tables.read_table(root / "outputs/teacher_responses/shard-0.parquet", tables.RESPONSES)
    return {(row["prompt_id"], row["sample"]): row["response"] for row in rows}


EXPECTED = {(f"p{n}", sample): f"CARD {n} ?" for n in range(PROMPTS) for sample in range(SAMPLES)}


def chooser(trouble, teacher):
    """The fault of each request, for a trouble."""
    began, number = [0.0], [0]

    def choose(_method, _path):
        number[0] += 1
        if sum(teacher.arrived.values()) < 20:
            return ""
        began[0] = began[0] or time.monotonic()
        passed = time.monotonic() - began[0]
        return {
            "dead": "connection reset" if passed < DEAD_S else "",
            "silent": "silence" if passed < DEAD_S else "",
            "slow": "silence" if number[0] % 3 == 0 else "",
            "flapping": "503" if passed % 1.0 < 0.5 else "",
            "answers lost": "lost answer" if number[0] % 5 == 0 else "",
        }[trouble]

    return choose


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_row_is_answered_once_however_often_the_stage_has_to_be_started(stage, row, trouble) -> None:
    counts = row("teacher behind an endpoint", f"{trouble}: {TROUBLES[trouble]}")
    with serving() as server, FaultProxy(f"http://127.0.0.1:{server.server_port}", silence_s=1.5) as proxy:
        teacher = Teacher(server, proxy)
        stage.configure(proxy.url)
        teacher.watch()
        proxy.choose = chooser(trouble, teacher)
        deadline, codes = time.monotonic() + 300, set()
        while True:
            try:
                stage()
                break
            except RetortError as error:
                codes.add(error.exit_code)
                time.sleep(0.5)
            if time.monotonic() > deadline:
                pytest.fail("never got through")
        assert codes <= {RETRY}
        counts.tried = sum(proxy.done.values())
        assert counts.tried > 3
        counts.wrong = sum(responses(stage.root).get(key) != said for key, said in EXPECTED.items())
        counts.lost = len(EXPECTED.keys() - responses(stage.root).keys())
        counts.survived = counts.tried
        assert responses(stage.root) == EXPECTED
        assert teacher.again == []


def test_a_budget_is_kept_over_all_attempts_failed_ones_and_probes_included(stage, row) -> None:
    budget = 3 * len(EXPECTED) // 4
    counts = row("teacher behind an endpoint", "a budget too small; every seventh request fails, then all")
    with serving() as server, FaultProxy(f"http://127.0.0.1:{server.server_port}") as proxy:
        teacher = Teacher(server, proxy)
        stage.configure(proxy.url, budget={"requests": budget}, max_retries=0)
        number = [0]

        def choose(_method: str, _path: str) -> str:
            number[0] += 1
            return "503" if number[0] % 7 == 0 or number[0] > budget // 2 else ""

        proxy.choose = choose
        teacher.watch()
        codes = set()
        for _ in range(40):
            try:
                stage()
                pytest.fail("was answered with fewer requests than it has")
            except BudgetError:
                break
            except RetortError as error:
                codes.add(error.exit_code)
        else:
            pytest.fail(f"the budget of {budget} never ended it: {number[0]} requests")
        assert codes == {RETRY}
        counts.tried = proxy.done["503"]
        assert number[0] <= budget
        assert teacher.again == []
        with pytest.raises(BudgetError):  # and stays spent
            stage()
        assert number[0] <= budget
        proxy.choose = lambda *_: ""
        stage.configure(proxy.url, budget={"requests": 3 * len(EXPECTED)}, max_retries=0)
        stage()
        assert responses(stage.root) == EXPECTED
        assert teacher.again == []
        counts.survived = counts.tried


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_stage_that_is_killed_asks_nothing_again_that_had_arrived_and_keeps_its_budget(stage, row) -> None:
    counts = row("teacher behind an endpoint", "SIGKILL of the stage")
    kills = 10 if FULL else 2
    with serving() as server, StageProcesses() as stages:
        proxy = FaultProxy(f"http://127.0.0.1:{server.server_port}")
        with proxy:
            teacher = Teacher(server, proxy)
            stage.configure(proxy.url, concurrency=1, budget={"requests": 10 * len(EXPECTED)})
            teacher.watch()
            values, drawn = {"shard": "0"}, random.Random(0)
            for _ in range(kills):
                ended = stages.run("teacher_responses", values, stage.root, kill_at=drawn.randrange(300, 3000))
                counts.tried += ended.killed
                if not ended.killed:
                    break
                kept = sum(json.loads(one.read_text())["requests"] for one in stage.root.rglob("*.spent.json"))
                assert kept >= len(server.asked)  # what was sent is counted
            stages.run("teacher_responses", values, stage.root)
        assert responses(stage.root) == EXPECTED
        # With one request under way, a kill can cost the one whose answer it met between arrival and log.
        assert len(teacher.again) <= counts.tried
        assert counts.tried > 0
        counts.survived = counts.tried
