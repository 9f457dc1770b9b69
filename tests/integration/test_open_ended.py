"""Open-ended prompts from end to end: a judge behind an endpoint in the place of the vote, wherever it is asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from retort.config import load_config, resolved
from retort.io.tables import JUDGE_CALLS, JUDGEMENTS, REWARD_EXAMPLES, VOTES, read_table
from retort.run.paths import Paths
from retort.run.stage import run_stage
from retort.run.tasks import graph
from tests.unit.judge.stand_ins import material, prefers

CONFIG = """\
answer: open
models: {teacher: {engine: {type: recorded, path: responses.jsonl}}, base: {source: student}}
prompts:
  sources: [{path: prompts.jsonl, answer_field: reference}]
  validation: 6
  test: 4
student_responses: {temperatures: [1.0], samples: 3, max_new_tokens: 12}
judge:
  model: {engine: {type: openai, base_url: URL, model: judge, api_key_env: JUDGE_KEY, concurrency: 4}}
  opponents: 3
sft: {steps: 60, batch_size: 8, learning_rate: 2.0e-2, warmup_steps: 2, max_length: 64}
reward: {trunk: sft, likelihood: [sft], steps: 2, batch_size: 8, evaluate_steps: 1, head_size: 8, max_length: 64,
         min_auc: 0, max_calibration_error: 1, min_per_class: 0}
ppo: {iterations: 2, prompts_per_iteration: 4, responses_per_prompt: 2, max_new_tokens: 12, minibatch_size: 8,
      critic_warmup: 1, critic_warmup_epochs: 1, critic_head_size: 8, evaluate_every: 1, checkpoint_every: 1}
evaluate: {models: [base, ppo], max_new_tokens: 12}
"""


class Handler(BaseHTTPRequestHandler):
    """Prefers the response whose bytes have the greater sum, whatever it says."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        system, user = (message["content"] for message in body["messages"])
        self.server.asked.append(material(user))
        message = {"role": "assistant", "content": prefers(lambda text: sum(text.encode()))(system, user)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        data = json.dumps(
            {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]} | {"usage": usage}
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.asked = []
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


@pytest.mark.timeout(300)
def test_every_stage_runs_with_a_judge_in_the_place_of_the_vote(server, tmp_path, tiny_model_folder, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "any")
    tiny_model_folder(seed=1, name="student")
    rows = [{"prompt": f"Write about {word} .", "reference": "fine"} for word in "abcdefghijklmnopqrst"]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = [
        {"prompt": row["prompt"], "response": word, "finish_reason": "stop"}
        for row in rows
        for word in ("fine", "good", "so", "well")
    ]
    (tmp_path / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    (tmp_path / "run.yaml").write_text(CONFIG.replace("URL", f"http://127.0.0.1:{server.server_port}/v1"))
    config = load_config(tmp_path / "run.yaml")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(resolved(config)))
    metrics = {task.address: run_stage(task.stage.name, task.values, tmp_path) for task in graph(config, tmp_path)}
    paths = Paths(tmp_path)

    labels = {row["prompt_id"]: row["label"] for row in read_table(paths.votes, VOTES)}
    judged = read_table(paths.judgements, JUDGEMENTS)
    for prompt_id, label in labels.items():
        agreeing = [row["response"] for row in judged if row["prompt_id"] == prompt_id and row["agrees"]]
        assert agreeing == ([] if label is None else [label])
    assert metrics["votes"]["figures"]["swayed_share"] == 0.0
    assert metrics["votes"]["figures"]["first_wins"] == 0.5

    for split in ("train", "validation"):
        for row in read_table(paths.reward_data("learned", split), REWARD_EXAMPLES):
            label = labels[row["prompt_id"]]
            # the judge's own rule: a student's response agrees if its sum is not below the label's
            better = sum(row["response"].strip().encode()) >= sum(label.strip().encode())
            assert row["source"] == "teacher" or row["response"].strip() == "" or row["label"] == better
    calls = read_table(paths.reward_data("learned", "train").with_name("calls.parquet"), JUDGE_CALLS)
    assert {row["verdict"] for row in calls} <= {"A", "B", "tie"}
    assert "skipped" not in metrics["ppo-ppo"]
    assert 0 <= metrics["ppo-ppo"]["first_agreement"] <= metrics["ppo-ppo"]["best_agreement"] <= 1
    for model in ("base", "ppo"):
        assert metrics[f"evaluate-{model}-heldout"]["items"] == 4
    page = "".join(file.read_text() for file in paths.report.rglob("*.html")) or (tmp_path / "report.html").read_text()
    assert "An LLM judge gave" in page
    assert "ajority vote" not in page
