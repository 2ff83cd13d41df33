"""What this machine computes fastest with."""

import torch


def fast_precision() -> str:
    """Name this machine's fastest precision: "bf16" where it has it, else "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "no"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "no"
