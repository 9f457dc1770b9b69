"""`retort init` and what `retort run` makes of a project's own configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from retort.cli.app import app
from retort.config import load_config, resolved
from retort.errors import ConfigError, StorageError
from retort.run import dvc_adapter
from retort.run.project import beginnings, bring_up, init, own_config, stores
from retort.run.tasks import graph
from retort.run.workspace import missing_sources


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", list(beginnings()))
def test_a_beginning_is_a_commented_configuration_with_all_files_that_it_names(name):
    init(Path("p"), name)
    text = Path("p/retort.yaml").read_text()
    assert text.startswith("# ")
    assert text.count("#") > 10
    config = load_config(Path("p/retort.yaml"), root=Path("p"))
    made = graph(config, Path("p"))
    assert missing_sources(made, Path("p")) == {}
    assert not [one for one in made.sources if one.startswith(("retort/", "configs/"))]
    assert Path("p/.dvc/config").is_file()


def test_the_words_of_the_verb_name_every_beginning():
    shown = CliRunner().invoke(app, ["init", "--help"], env={"COLUMNS": "200"}).stdout
    assert all(name in shown for name in beginnings())


def test_the_demo_is_the_shipped_one_with_its_files_in_the_project():
    init(Path("p"), "demo")
    shipped, own = resolved(load_config(Path("demo"))), resolved(load_config(Path("p/retort.yaml")))
    text = yaml.safe_dump(shipped)
    for there, here in (
        ("teacher", "models/teacher"),
        ("base", "models/base"),
        ("prompts.jsonl", "data/problems.jsonl"),
        ("unlabelled.jsonl.gz", "data/unlabelled.jsonl.gz"),
    ):
        text = text.replace(f"retort/demo/assets/{there}", here)
    assert yaml.safe_load(text) == own


def test_init_says_the_next_commands():
    shown = CliRunner().invoke(app, ["init", "--from", "endpoint", "mine"])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-3:] == [
        "  cd mine",
        "  retort check    # what would be refused, and what the run will need",
        "  retort run",
    ]


def test_init_replaces_nothing_and_leaves_nothing_when_it_is_refused():
    Path("p/data").mkdir(parents=True)
    Path("p/data/problems.jsonl").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"p/data/problems.jsonl: exists already"):
        init(Path("p"), "demo")
    assert [path.name for path in Path("p").rglob("*") if path.is_file()] == ["problems.jsonl"]
    with pytest.raises(ConfigError, match=r"unknown beginning 'endpont'; did you mean 'endpoint'"):
        init(Path("q"), "endpont")
    assert not Path("q").exists()


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


def test_in_a_git_repository_git_keeps_settings_and_figures_and_ignores_what_runs_make(monkeypatch):
    git("init", "-q")
    Path(".gitignore").write_text("mine")
    begun = init(Path(), "recorded")
    assert begun.notes == []
    assert "no_scm" not in Path(".dvc/config").read_text()
    ignored = Path(".gitignore").read_text()
    assert ignored.startswith("mine\n# What runs make")
    for name in ("outputs/x", "runs/try/dvc.lock", "runs/.cache/x", ".retort/x", "report.html", ".dvc/cache/x"):
        assert subprocess.run(["git", "check-ignore", "-q", name], check=False).returncode == 0, name
    for name in ("retort.yaml", "params.yaml", "dvc.lock", "metrics/votes.json", "code.yaml", ".dvc/config"):
        assert subprocess.run(["git", "check-ignore", "-q", name], check=False).returncode == 1, name
    kept = "\n".join(line.removeprefix("# ") if line.startswith("# !") else line for line in ignored.splitlines())
    Path(".gitignore").write_text(kept)
    codes = {"dvc.lock": 1, "metrics/votes.json": 1, "outputs/x": 0, "../.cache/files/x": 0}
    for name, code in codes.items():
        asked = Path("runs/try", name).as_posix().replace("try/../", "")
        assert subprocess.run(["git", "check-ignore", "-q", asked], check=False).returncode == code, asked


def test_a_folder_without_git_and_one_inside_a_dvc_project_are_told_so():
    begun = init(Path(), "recorded")
    assert begun.notes == [
        "is in no git repository: runs work, `dvc exp` and `dvc metrics diff` do not (`git init` first)"
    ]
    assert "no_scm = true" in Path(".dvc/config").read_text()
    inner = init(Path("inner"), "demo")
    assert inner.notes[0] == f"lies inside the DVC project {Path().resolve()}, and is a DVC project of its own"


def test_params_follow_from_the_project_s_configuration_and_edits_by_hand_are_not_lost():
    init(Path(), "recorded")
    bring_up(Path())
    params, config = Path("params.yaml"), Path("retort.yaml")
    assert yaml.safe_load(params.read_text()) == resolved(load_config(config))
    config.write_text(config.read_text().replace("steps: 600", "steps: 7"))
    bring_up(Path())
    assert yaml.safe_load(params.read_text())["sft"]["steps"] == 7
    params.write_text(params.read_text().replace("steps: 7", "steps: 8"))
    with pytest.raises(
        ConfigError, match=r"params.yaml: was changed by hand .* differs from retort.yaml in sft.steps \(8, not 7\)"
    ):
        bring_up(Path())
    assert "steps: 8" in params.read_text()
    config.write_text(config.read_text().replace("steps: 7", "steps: 8"))
    bring_up(Path())  # both say the same: nothing is lost


def test_named_runs_of_a_project_share_its_store_so_that_nothing_is_paid_twice():
    assert stores(Path()) == ("runs/.remote", Path("runs/.cache"))
    init(Path(), "recorded")
    remote, cache = stores(Path())
    assert (Path(remote), cache) == (Path(".dvc-remote").resolve(), Path(".dvc/cache").resolve())


def test_an_empty_folder_is_told_how_to_begin():
    with pytest.raises(ConfigError, match="`retort init` begins a project here"):
        own_config(Path())


def test_a_folder_that_cannot_be_written_and_a_full_disk_leave_nothing_half_written(limit_file_size):
    with pytest.raises(StorageError, match=r"/proc/p/data: could not be written|could not be written"):
        init(Path("/proc/p"), "demo")
    with limit_file_size(1000), pytest.raises(StorageError, match=r"could not be written \(File too large\)"):
        init(Path("p"), "demo")
    assert [path for path in Path("p").rglob("*") if path.is_file()] == []


def test_dvc_works_in_a_project_inside_another_dvc_project_and_the_outer_one_passes_over_it():
    git("init", "-q")
    init(Path(), "recorded")
    bring_up(Path())
    init(Path("inner"), "recorded")
    bring_up(Path("inner"))
    assert set(dvc_adapter.status(Path("inner"))) == set(dvc_adapter.status(Path()))  # its own tasks, all to be done
    assert dvc_adapter.remote(Path("inner")) == str(Path("inner/.dvc-remote").resolve())
    assert dvc_adapter.remote(Path()) == str(Path(".dvc-remote").resolve())
