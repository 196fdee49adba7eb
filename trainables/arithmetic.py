"""Which arithmetic a machine is fast in: bfloat16 needs instructions for it.

Without them bfloat16 is a trap: it was seen to take 8 to 18 times as long as float32. With them it
takes two thirds to nine tenths of the time, and moved no ROC-AUC by more than .0033.

On a card float32 means float32: :func:`reproducible` turns TF32 off, in which NVIDIA's cards from
compute capability 8.0 on multiply numbers whose fractions they have cut from 23 bits to 10. Torch's
own default uses it for convolutions. It is no third choice: these cards have bfloat16 as well, with
twice its peak.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

Precision = Literal["bfloat16", "float32"]
"""Arithmetic of a network's inner layers."""

Arithmetic = Literal["auto", "float32", "bfloat16"]
"""What may be asked for: one of the two, or whichever is faster where the networks train."""

DeviceChoice = Literal["auto", "cpu", "cuda"]
"""What networks may be asked to train on: GPUs where there are any, CPUs, or GPUs."""

_ONEDNN_WITHOUT = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of ``ONEDNN_MAX_CPU_ISA`` that keep oneDNN, which does torch's convolutions, from using
instructions for bfloat16."""

_ATEN_WITHOUT = ("default", "avx2")
"""Values of ``ATEN_CPU_CAPABILITY`` that pretend a processor without AVX-512."""

_CUDA_WITH = (8, 0)
"""Compute capability from which NVIDIA's cards have bfloat16: A100 and later."""


@contextmanager
def reproducible() -> Iterator[None]:
    """Arithmetic that gives the same bits every time, and float32 for float32, on a card too.

    Training, validation and scoring run under it. It sets flags of the whole process; on a CPU they
    mean nothing. Several threads may be under it at once: the first sets the flags, and the last to
    leave puts back what the caller had, whichever of them that is.
    """
    _flags.enter()
    try:
        yield
    finally:
        _flags.leave()


class _Flags:
    """Torch's flags for a card, and how many threads or blocks need them set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = (False, False, False)

    def enter(self) -> None:
        """Set the flags, if nobody has."""
        from torch import backends

        cudnn, matmul = backends.cudnn, backends.cuda.matmul
        with self._lock:
            if not self._users:
                self._before = cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
                cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
            self._users += 1

    def leave(self) -> None:
        """Put the flags back, if nobody else needs them."""
        from torch import backends

        cudnn, matmul = backends.cudnn, backends.cuda.matmul
        with self._lock:
            self._users -= 1
            if not self._users:
                cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = self._before


_flags = _Flags()


def fast_precision(device: str) -> Precision:
    """The faster arithmetic of this machine.

    Args:
        device: What the networks train on: ``cpu`` or ``cuda``.
    """
    has = _cuda_has_bfloat16() if device.startswith("cuda") else cpu_has_bfloat16()
    return "bfloat16" if has else "float32"


def cpu_has_bfloat16(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this processor has AVX512-BF16 or AMX-BF16, and may use it.

    Args:
        environment: Where limits of oneDNN and torch are looked up, by default this process's.
    """
    import torch

    environment = os.environ if environment is None else environment
    limits = (environment.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    if any(limit.upper() in _ONEDNN_WITHOUT for limit in limits):
        return False
    if environment.get("ATEN_CPU_CAPABILITY", "").lower() in _ATEN_WITHOUT:
        return False
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16"))


def _cuda_has_bfloat16() -> bool:
    import torch

    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= _CUDA_WITH
