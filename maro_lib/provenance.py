"""Where a result comes from: versions of the packages, the checkout's commit, and the machine.

Nothing here says who ran it: no user, host name or path. Written into summaries and model cards.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from maro_lib.runs import ROOT

PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "pydantic", "PyYAML", "papermill", "nbclient", "ipykernel",
            "torch", "transformers", "peft", "lm_eval")  # fmt: skip


def surroundings() -> dict[str, Any]:
    """Return a summary's fields on where it is run: versions, commit and machine."""
    host = {"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count()}
    return {"versions": versions(), "git": git_state(), "host": host}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": sys.version.split()[0], **dict(_installed())}


def git_state() -> dict[str, str | bool]:
    """Return the checkout's commit, and whether anything was changed since."""
    try:
        commit, status = (_git("rev-parse", "HEAD"), _git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": "unknown"}
    return {"commit": commit, "dirty": bool(status)}


def _installed() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()
