"""GPUs: memory, bandwidth and peak FLOP/s, from their makers' data sheets (dense, without sparsity)."""

from __future__ import annotations

from dataclasses import dataclass

from retort.errors import ConfigError


@dataclass(frozen=True)
class Device:
    """One kind of GPU."""

    name: str
    memory_gb: float
    """GB of 10^9 bytes, as sold."""
    bandwidth_tb: float
    """TB/s of its memory."""
    bfloat16_tflops: float
    """Peak of matrix products in bfloat16, accumulated in float32."""
    float32_tflops: float
    """Peak in float32 without TF32, which torch leaves off."""

    def peak(self, dtype: str) -> float:
        """Peak FLOP/s in a type."""
        return 1e12 * (self.bfloat16_tflops if dtype == "bfloat16" else self.float32_tflops)


DEVICES = {
    device.name: device
    for device in (
        Device("H200-141", 141, 4.8, 989, 67),
        Device("H100-80", 80, 3.35, 989, 67),
        Device("A100-80", 80, 2.04, 312, 19.5),
        Device("A100-40", 40, 1.555, 312, 19.5),
        Device("L40S-48", 48, 0.864, 362, 91.6),
        Device("A10-24", 24, 0.6, 125, 31.2),
        Device("L4-24", 24, 0.3, 121, 30.3),
    )
}


def find(name: str) -> Device:
    """The device of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DEVICES:
        raise ConfigError(f"--gpu {name}: not known. Name one of {', '.join(DEVICES)}.")
    return DEVICES[name]
