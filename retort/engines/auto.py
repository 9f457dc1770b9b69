"""The `auto` engine: vLLM where a GPU and vLLM are, else Retort's own."""

from __future__ import annotations

import logging
import shutil

from retort.config.models import AutoEngineConfig
from retort.engines import local, vllm
from retort.engines.base import Engine, Rollouts
from retort.plugins import EngineContext, EngineType, RolloutContext

_log = logging.getLogger(__name__)


def has_gpu() -> bool:
    """Whether this machine has one."""
    from retort.modeling.loading import default_device  # torch is not for whoever reads a configuration

    return default_device().type != "cpu"


def _chosen(context: EngineContext | RolloutContext) -> EngineType:
    gpu, found = has_gpu(), shutil.which(context.settings.program) is not None
    chosen = vllm.ENGINE if gpu and found else local.ENGINE
    why = f"{'a' if gpu else 'no'} GPU and {'' if found else 'no '}{context.settings.program} here"
    _log.info("%s: auto is %s, for there is %s", context.place, chosen.name, why)
    return chosen


def _make(context: EngineContext) -> Engine:
    engine: Engine = _chosen(context).make(context)
    return engine


def _rollouts(context: RolloutContext) -> Rollouts | None:
    make = _chosen(context).rollouts
    return None if make is None else make(context)


ENGINE = EngineType("auto", AutoEngineConfig, _make, rollouts=_rollouts)
