from components.collect.component import collect
from retort.pod import decode, encode


def test_fragments_of_shards_become_one():
    shards = [encode({f"votes@{shard}": {"cmd": str(shard)}}) for shard in (0, 1)]
    assert decode(collect.python_func(fragments=shards)) == {"votes@0": {"cmd": "0"}, "votes@1": {"cmd": "1"}}
