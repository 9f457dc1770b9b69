"""Settings by reference: written before they are named, equal for equal settings, held to their hash when read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from retort_pipelines.graph.compile import arguments

from retort.config import load_config
from retort.errors import DO_NOT_RETRY, RETRY, ConfigError, IntegrityError, StoreAwayError
from retort.io.objects import Objects
from retort.pod import task
from retort.pod.kept_settings import digest_of, keep, read, remote_of
from retort.pod.run_records import Records
from retort.pod.scheduled_data import plan_of
from retort.pod.settings import GroupSettings, parameter_of, settings, settings_in
from retort.run.tasks import graph


@pytest.fixture(scope="module")
def config():
    return load_config(Path("smoke"))


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def told(config, store):
    whole = settings(config, graph(config).groups["votes"], {}, remote=store)
    return GroupSettings.from_json(whole.to_json())  # without the words that decide nothing


def test_an_address_names_the_hash_of_what_is_read_and_the_store_without_reading(told, store):
    address = keep(told)
    file = Path(address)
    assert address == f"{store}/settings/{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert read(address) == told
    file.unlink()
    assert remote_of(address) == store


def test_equal_settings_have_an_equal_address_and_others_another(told):
    assert keep(told) == keep(replace(told))
    assert keep(replace(told, params={})) != keep(told)


def test_how_often_the_store_was_collected_is_in_the_address_alone(told):
    again = replace(told, generation=3)
    assert keep(again) == f"{keep(told)}#generation=3"
    assert read(keep(again)) == again


def test_a_text_is_read_as_it_is_and_is_the_same_settings_as_its_address(told, store):
    old = replace(told, generation=3)
    assert read(old.to_json()) == old
    assert remote_of(old.to_json()) == store
    assert {digest_of(one) for one in (told.to_json(), old.to_json(), keep(told), keep(old))} == {
        hashlib.sha256(told.to_json().encode()).hexdigest()
    }


def test_a_runs_arguments_are_addresses_of_what_is_there(config, store):
    given = arguments(config, remote=store, files={})
    assert given == arguments(config, remote=store, files={})
    assert {Path(one).parent for one in settings_in(given).values()} == {Path(store) / "settings"}
    for name, tasks in graph(config).groups.items():
        address = given[parameter_of(name)]
        assert read(address).to_json() == settings(config, tasks, {}, remote=store).to_json()


def test_an_object_that_is_damaged_is_refused_and_mended_by_submitting_again(told):
    address = keep(told)
    Path(address).write_text(told.to_json().replace("votes", "vetos"))
    with pytest.raises(IntegrityError, match=r"settings/.* are damaged in the object store.*`retort submit`"):
        read(address)
    assert read(keep(told)) == told


def test_an_object_that_is_not_there_is_said(told):
    address = keep(told)
    Path(address).unlink()
    with pytest.raises(IntegrityError, match=r"no such settings in the object store\. `retort submit`"):
        read(address)


@pytest.mark.parametrize("given", ["", "votes", "s3://bucket/settings/abc", "/store/fragments/" + "a" * 64])
def test_what_is_neither_address_nor_text_is_refused(given):
    with pytest.raises(ConfigError, match="is no address of settings"):
        read(given)


@pytest.mark.parametrize(("how", "code"), [("damaged", DO_NOT_RETRY), ("missing", DO_NOT_RETRY), ("away", RETRY)])
def test_a_pod_without_its_settings_ends_with_a_record_and_the_errors_code(told, store, how, code, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-1")
    monkeypatch.setenv("RETORT_STORE_PATIENCE", "0.1")
    address = keep(told)
    if how == "away":
        seen, whole = [], Objects.read

        def away(self, name):
            if not self.folder.endswith("/settings"):
                return whole(self, name)

            def call():
                seen.append(name)
                raise StoreAwayError("the store is away.")

            return self._tried("reading", name, call)

        monkeypatch.setattr(Objects, "read", away)
    elif how == "missing":
        Path(address).unlink()
    else:
        Path(address).write_text("{}")
    with pytest.raises(SystemExit) as ended:
        task.run(address)
    assert ended.value.code == code
    (failure,) = Records.of(store, "run-1").failures()
    assert (failure.task, failure.exit_code, failure.upstream) == ("settings", code, [address])
    if how == "away":
        assert len(seen) > 1  # it was waited for


def test_a_plan_is_its_schedules_settings_less_the_data(config, store, told):
    prompts = settings(config, graph(config).groups["prompts"], {}, remote=store)
    given = {parameter_of("prompts"): keep(prompts), parameter_of("votes"): keep(told)}
    new_data = replace(prompts, files=[{"path": "data/prompts.jsonl", "md5": "0" * 32}])
    assert plan_of(given) == plan_of(given | {parameter_of("prompts"): keep(new_data)})
    assert plan_of(given) != plan_of(given | {parameter_of("prompts"): keep(replace(prompts, params={}))})
    assert plan_of(given) != plan_of(given | {parameter_of("votes"): keep(replace(told, params={}))})


def test_no_secret_of_the_environment_is_in_an_address_or_its_object(config, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-key")
    given = arguments(config, remote=str(tmp_path / "store"), files={})
    files = list((tmp_path / "store/settings").iterdir())
    assert len(files) == len(set(settings_in(given).values()))
    assert "very-secret-key" not in json.dumps(given) + "".join(one.read_text() for one in files)
