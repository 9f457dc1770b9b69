import json

from retort_components.record.component import record

from retort.pod import lock_fragments
from retort.pod.run_records import Records


def test_the_lock_of_a_run_is_kept_under_its_id(tmp_path, monkeypatch):
    remote = str(tmp_path)
    monkeypatch.setenv("RETORT_RUN", "run-7")
    parts = [lock_fragments.save({name: {"cmd": name}}, remote) for name in ("votes", "sft")]
    record.python_func(settings=json.dumps({"remote": remote}), fragments=parts)
    assert Records.of(remote, "run-7").lock() == {"votes": {"cmd": "votes"}, "sft": {"cmd": "sft"}}
