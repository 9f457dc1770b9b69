"""New weights for a model that vLLM serves: methods that vLLM adds to its workers (`--worker-extension-cls`).

This runs in vLLM's environment, which need not have Retort: it imports nothing of it.
"""

from __future__ import annotations

from typing import Any


class Weights:
    """Methods of a worker; `/collective_rpc` calls them by name in each."""

    model_runner: Any
    """The worker's own."""
    reload_weights: Any
    """The worker's own: vLLM's update of all weights in place."""

    def retort_load_weights(self, folder: str) -> int:
        """Serve the weights of a folder of safetensors from now on.

        Returns:
            Tensors of the model, for the answer to hold something that only this gives.
        """
        self.reload_weights(weights_path=folder)
        model = self.model_runner.get_model()
        for module in model.modules():
            # On CPUs the scores over the vocabulary are computed from a packed copy of the weights. `reload_weights` of
            # vLLM 0.32 makes it anew where they are the head's own, and not where they are the embedding's.
            if type(module).__name__ == "ParallelLMHead" and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)
        return sum(1 for _ in model.parameters())
