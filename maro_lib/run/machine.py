"""This machine: its Python and packages, its device, its 4 bits, its disk, and how fast it computes.

Every check is a function of what is expected that returns one finding. Used by `maro_lib.run.doctor`.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from maro_lib.model.estimates import Speed
from maro_lib.model.players import Player
from maro_lib.model.shipped import SHIPPED
from maro_lib.runs import short_path
from maro_lib.wording import amount, first_line

if TYPE_CHECKING:
    import torch

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Finding(NamedTuple):
    """One line: what was looked at, how it is, and what to do about it."""

    status: str
    check: str
    found: str
    expected: str = ""
    advice: str = ""

    def __str__(self) -> str:
        expected = f" (expected: {self.expected})" if self.expected else ""
        advice = f" -> {self.advice}" if self.advice else ""
        return f"{self.status:<8} {self.check:<13} {self.found}{expected}{advice}"


def check_packages(requirements: str, installed: Callable[[str], str | None]) -> Finding:
    """Compare installed versions with the pins, one per line; `-e .` is this package itself."""
    from packaging.requirements import Requirement

    lines = (line.partition("#")[0].strip() for line in requirements.splitlines())
    pins = [Requirement(line) for line in lines if line and not line.startswith("-")]
    missing = [str(pin) for pin in pins if installed(pin.name) is None]
    other = [f"{pin.name} {has}" for pin in pins
             if (has := installed(pin.name)) and not pin.specifier.contains(has, prereleases=True)]  # fmt: skip
    advice = "pip install -r requirements.txt"
    if missing:
        return Finding(PROBLEM, "packages", f"not installed: {', '.join(missing)}", "as in requirements.txt", advice)
    if other:
        pinned = ", ".join(str(p) for p in pins if any(o.split()[0] == p.name for o in other))
        return Finding(WARNING, "packages", f"other versions: {', '.join(other)}", pinned, advice)
    return Finding(OK, "packages", f"{len(pins)} as requirements.txt pins them, Python {platform.python_version()}")


def installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_device(player: Player) -> Finding:
    """Say what will compute, and how much memory is free there."""
    import torch

    free = amount(free_memory())
    if not torch.cuda.is_available():
        cpu = f"no GPU; {os.cpu_count()} processor cores ({platform.machine()}), {free} of memory free"
        if "vllm" in player.server_command:
            return Finding(WARNING, "device", cpu, "a GPU for vLLM", "run it where there is one")
        if player.precision == "nf4" and player.model not in SHIPPED:
            return Finding(WARNING, "device", cpu, "a GPU: 4 bits are slow on a processor", "run it where there is one")
        return Finding(OK, "device", cpu)
    gpu = torch.cuda.get_device_properties(0)
    more = f", the first of {torch.cuda.device_count()}" if torch.cuda.device_count() > 1 else ""
    found = f"{gpu.name}{more}, compute capability {gpu.major}.{gpu.minor}, {free} of {amount(gpu.total_memory)} free"
    if gpu.major < 8 and not (player.is_scripted or player.server_url) and player.precision != "float32":
        return Finding(WARNING, "device", found, "8.0 or newer", "bfloat16 is emulated here and slow")
    return Finding(OK, "device", found)


def free_memory() -> int:
    """Bytes free where a model would be: on the GPU, else in main memory."""
    import psutil
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available


def check_bitsandbytes() -> Finding:
    """Quantise a small layer here, run it, and look whether the right gradient flows through it, also after playing."""
    import torch

    from maro_lib.model.loading import best_device, guard_4bit

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it hints at a package that isn't needed
    device = best_device()
    try:
        import bitsandbytes as bnb

        layer = _quantised(device)
        guard_4bit(layer)
        weight = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        layer.eval()(torch.ones(2, 64, device=device))  # where a processor would repack its weights
        x = torch.ones(2, 64, device=device, requires_grad=True)
        y = layer.train()(x)
        y.sum().backward()
    except Exception as error:  # a library without kernels for this device fails in its own ways
        return Finding(PROBLEM, "bitsandbytes", f"fails on {device}: {first_line(error)}", "",
                       "set `precision: bfloat16` (or float32), or install a bitsandbytes for this device")  # fmt: skip
    close = {"rtol": 1e-3, "atol": 1e-3}
    if not (torch.allclose(y, x @ weight.T, **close) and torch.allclose(x.grad[0], weight.sum(0), **close)):
        return Finding(PROBLEM, "bitsandbytes", f"4-bit layers compute wrong numbers on {device}", "",
                       "set `precision: bfloat16` (or float32)")  # fmt: skip
    return Finding(OK, "bitsandbytes", f"a 4-bit layer computes and gives gradients on {device}")


def _quantised(device: str) -> torch.nn.Module:
    """A 4-bit layer of 64 inputs and 32 outputs."""
    import bitsandbytes as bnb
    import torch

    layer = bnb.nn.Linear4bit(64, 32, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    numbers = torch.linspace(-1, 1, 64 * 32).reshape(32, 64).sin()
    layer.weight = bnb.nn.Params4bit(numbers, requires_grad=False, quant_type="nf4", compress_statistics=True)
    return layer.to(device)


def check_disk(folder: Path, needed: float) -> Finding:
    """Check that the runs' folder can be written to, and has room for this run."""
    place = short_path(folder)
    there = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(PROBLEM, "disk", f"{place}: can't be written ({error.strerror})", "a folder that can",
                       "make it writable, or name another in the environment as MARO_OUTPUTS")  # fmt: skip
    found = f"{amount(free)} free in {place}; the games take at most {amount(needed)}"
    if needed > free:
        return Finding(PROBLEM, "disk", found, "room for them", "free some space, or lower `n_games`")
    return Finding(WARNING if needed > free / 2 else OK, "disk", found)


def measure_speed(compute: int) -> Speed:
    """Time one product of matrices and one copy on this device."""
    import torch

    on_gpu = torch.cuda.is_available()
    n, n_bytes, device = (4096, 2**28, "cuda") if on_gpu else (768, 2**24, "cpu")
    a = torch.ones(n, n, dtype={8: torch.float64, 4: torch.float32, 2: torch.bfloat16}[compute], device=device)
    b = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    return Speed(2 * n**3 / _seconds(lambda: a @ a), 2 * n_bytes / _seconds(b.clone))


def _seconds(work: Callable[[], object], n: int = 3) -> float:
    """Seconds of one piece of work, the first time left out; an answer that is read has been computed.

    On a processor its own seconds count, shared by its threads: a busy neighbour makes the clock run on, not the work.
    """
    import torch

    on_gpu = torch.cuda.is_available()
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    clock, threads = (time.perf_counter, 1) if on_gpu else (time.process_time, torch.get_num_threads())
    work()
    wait()
    began = clock()
    for _ in range(n):
        work()
    wait()
    return (clock() - began) / n / threads
