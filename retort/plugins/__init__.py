"""What can be added without editing Retort: the interfaces of methods, rewards, engines and benchmarks, found by name.

These are the ground that configuration, graph and stages stand on, so nothing here imports anything else of Retort but
its errors.
"""

from retort.plugins.benchmark import BenchmarkType, Item, Verdict
from retort.plugins.engine import EngineContext, EngineType, RolloutContext
from retort.plugins.method import Answering, Method, Training
from retort.plugins.registry import GROUPS, at, function, is_path, load, module_of, names, source_of
from retort.plugins.reward import LikelihoodReward, Reward, RewardContext, RewardType

__all__ = [
    "GROUPS",
    "Answering",
    "BenchmarkType",
    "EngineContext",
    "EngineType",
    "Item",
    "LikelihoodReward",
    "Method",
    "Reward",
    "RewardContext",
    "RewardType",
    "RolloutContext",
    "Training",
    "Verdict",
    "at",
    "function",
    "is_path",
    "load",
    "module_of",
    "names",
    "source_of",
]
