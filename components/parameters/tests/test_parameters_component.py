import pytest
from retort_components.parameters.component import parameters
from retort_pipelines.graph.compile import arguments

from retort.pod.kept_settings import read
from retort.pod.run_records import Records
from retort.pod.settings import CONFIGURATION, parameter_of


def test_values_are_checked_together_and_a_refusal_is_on_record(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("RETORT_RUN", "run-7")
    given = arguments(toy().config, remote=str(tmp_path / "store"), files={})
    told = given[CONFIGURATION], given[parameter_of("prompts")], given[parameter_of("report")]
    assert parameters.python_func(*told, ["sft.learning_rate=0.5"], {}) == given[parameter_of("prompts")]
    assert read(given[parameter_of("sft-sft")]).params["sft"]["learning_rate"] is None
    with pytest.raises(SystemExit):
        parameters.python_func(*told, ["sft.learning_rate=-1"], {})
    (failure,) = Records.of(str(tmp_path / "store"), "run-7").failures()
    assert failure.task == "parameters"
    assert "sft.learning_rate: Input should be greater than 0" in failure.message
