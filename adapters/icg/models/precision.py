"""Whether half precision pays on this machine. Knows no model."""

from __future__ import annotations

import torch


def half_on_cpu() -> bool:
    """Whether this CPU multiplies bfloat16 (AVX-512 BF16 or AMX): denoisers and autoencoders then take about half of the time."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test is not None and test() for test in tests)
