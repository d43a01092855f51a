"""Kernels that hold the lock of their run's folder together with the process that started them.

A kernel outlives a process that is killed by a second or so, and may write in that time. A lock is free when everybody
who holds it has ended; so whoever comes next into the folder comes after the kernel too (`maro_lib.run.locks.held`).
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_client import AsyncKernelManager

from maro_lib.run.locks import HELD_OPEN


class LockingKernel(AsyncKernelManager):
    """A kernel that is handed the open file."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        held = [int(os.environ[HELD_OPEN])] if HELD_OPEN in os.environ else []
        await super()._async_launch_kernel(kernel_cmd, pass_fds=held, **options)
