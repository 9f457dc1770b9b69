"""What the tests on a cluster submit passes the check of `submit`: nothing else here would notice if it did not."""

from pathlib import Path

import pytest

from retort.check.examine import examine
from retort.config import load_config
from tests.cluster.runs import LONGER, MODELS, OWN_DATA, QUICK, exports
from tests.cluster.support import CHECKOUT


@pytest.mark.parametrize(
    "changes",
    [(), ("prompts.limit=40",), (*QUICK, OWN_DATA)],
    ids=["smoke", "few prompts", "a schedule's own data"],
)
def test_a_run_of_the_cluster_tests_passes(changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(exports()[0])
    config = load_config(Path(CHECKOUT / "configs/smoke.yaml"), changes=[MODELS, *LONGER, *changes])
    found = examine(config, Path(), here=False)
    assert [one for one in found.findings if one.level == "error"] == []
