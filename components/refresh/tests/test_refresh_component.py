from retort_components.record.component import record
from retort_components.refresh.component import refresh

from retort.pod import lock_fragments
from retort.pod.kept_settings import keep, read
from retort.pod.settings import GroupSettings
from retort.run.graph import Task
from retort.run.known_stages import STAGES


def test_a_schedule_skips_what_it_has_done_and_sees_new_data(tmp_path):
    remote, export = str(tmp_path / "store"), tmp_path / "bucket/export/prompts.jsonl"
    export.parent.mkdir(parents=True)
    task = Task(STAGES["prompts"], sources=("data/p.jsonl",))
    told = keep(GroupSettings(remote, {}, {"": "code"}, [{"path": "data/p.jsonl", "md5": "old"}], {"": task}))

    def fire():
        return refresh.python_func(told, "weekly", "plan-1", {"data/p.jsonl": str(export)})

    export.write_text('{"prompt": "1+1?"}\n')
    settings, changed = fire()
    assert changed
    assert read(settings).files[0]["md5"] != "old"
    assert fire() == (settings, True)  # the run on it has not ended well yet
    empty = lock_fragments.save({}, remote)
    record.python_func(settings=settings, fragments=[empty], schedule="weekly", plan="plan-1")
    assert fire() == (settings, False)
    export.write_text('{"prompt": "2+2?"}\n')
    later, changed = fire()
    assert changed
    assert later != settings
