"""Models that come along: by which names, where their weights are, and how they are made. Used from notebook 00 on."""

from __future__ import annotations

from maro_lib.runs import ROOT

_ROOM = ROOT / "maro_lib" / "embedded"
SHIPPED = {"embedded": _ROOM / "weights", "worlds": _ROOM / "worlds_weights"}  # of the mystery alone, of all worlds
_PARAMS = {"embedded": "embedded", "worlds": "embedded_worlds"}  # the file of params/ that makes each


def not_made(name: str) -> str:
    """Say how a model that comes along is made, if its weights are not there; nothing if they are, or it is another."""
    folder = SHIPPED.get(name)
    if folder is None or (folder / "model.safetensors").is_file():
        return ""
    run, place = _PARAMS[name], folder.relative_to(ROOT)
    return (f"{name}: its weights are not there yet: make run PARAMS=params/{run}.yaml ONLY=00 makes it; then "
            f"mkdir -p {place} && cp outputs/{run}/embedded/* {place}/")  # fmt: skip
