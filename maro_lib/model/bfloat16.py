"""Products in bfloat16 on any processor.

Some processors have units for bfloat16 and multiply twice as fast as in float32; without them torch takes up to 85
times as long. There `products` multiplies in float32 and rounds afterwards, which is what the units do as well.
"""

from __future__ import annotations

import contextlib
import time
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

MATMULS = {getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm")}


@cache
def bfloat16_pays() -> bool:
    """Whether this processor multiplies in bfloat16 clearly faster than in float32."""
    return 1.3 * _seconds(torch.bfloat16) < _seconds(torch.float32)


def products() -> contextlib.AbstractContextManager[Any]:
    """Multiply what is in bfloat16 quickly within the block, autograd's and optimisers' products included."""
    return contextlib.nullcontext() if bfloat16_pays() else InFloat32()


class InFloat32(TorchDispatchMode):
    """Multiplies bfloat16 matrices in float32, and rounds what comes out."""

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Do what torch would, products of bfloat16 matrices excepted."""
        if op in MATMULS and args[0].dtype == torch.bfloat16 and args[0].device.type == "cpu":
            return op(*(a.float() for a in args), **kwargs or {}).bfloat16()
        return op(*args, **kwargs or {})


def _seconds(dtype: torch.dtype, n: int = 5) -> float:
    """Processor time of the fastest of some products; short, since one without units is slow."""
    a, b = torch.ones(128, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(n):
        began = time.process_time()
        a @ b
        times.append(time.process_time() - began)
    return min(times)
