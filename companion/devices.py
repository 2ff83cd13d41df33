"""What this machine computes fastest with, and how it is stopped."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def fast_precision() -> str:
    """Name this machine's fastest precision: "bf16" where it has it, else "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "no"
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if native else "no"


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in here, whatever it does outside."""
    if threading.current_thread() is not threading.main_thread():
        yield  # a signal reaches the main thread alone
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
