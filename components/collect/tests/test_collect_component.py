import json

from retort_components.collect.component import collect

from retort.pod import lock_fragments


def test_fragments_of_shards_become_one(tmp_path):
    remote = str(tmp_path)
    shards = [lock_fragments.save({f"votes@{shard}": {"cmd": str(shard)}}, remote) for shard in (0, 1)]
    name = collect.python_func(settings=json.dumps({"remote": remote}), fragments=shards)
    assert lock_fragments.load(name, remote) == {"votes@0": {"cmd": "0"}, "votes@1": {"cmd": "1"}}
    assert len(name) < 80  # however many shards there are
