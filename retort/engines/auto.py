"""The `auto` engine: vLLM where a GPU and vLLM are, else Retort's own."""

from __future__ import annotations

import logging
import shutil

from retort.config.models import AutoEngineConfig
from retort.engines import local, vllm
from retort.engines.base import Engine
from retort.plugins import EngineContext, EngineType

_log = logging.getLogger(__name__)


def _make(context: EngineContext) -> Engine:
    from retort.modeling import loading  # torch is not for whoever reads a configuration

    device, found = loading.default_device().type, shutil.which(context.settings.program) is not None
    chosen = vllm.ENGINE if device != "cpu" and found else local.ENGINE
    why = f"{'a GPU' if device != 'cpu' else 'no GPU'} and {'' if found else 'no '}{context.settings.program} here"
    _log.info("%s: auto is %s, for there is %s", context.place, chosen.name, why)
    engine: Engine = chosen.make(context)
    return engine


ENGINE = EngineType("auto", AutoEngineConfig, _make)
