from retort_components.plugin.component import plugin
from retort_components.stages import component_of


def test_a_method_without_a_folder_here_runs_as_the_plugin_component_under_its_own_name(pod):
    component = component_of("ppo_of_mine")
    assert component.name == "ppo-of-mine"
    assert component.python_func is plugin.python_func
    pod.check(component, "ppo-ppo")
