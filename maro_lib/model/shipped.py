"""Models that come along: by which names, where their weights are, and how they are made. Used from notebook 00 on."""

from __future__ import annotations

from maro_lib.runs import ROOT

_ROOM = ROOT / "maro_lib" / "embedded"
SHIPPED = {"embedded": _ROOM / "weights", "worlds": _ROOM / "worlds_weights"}  # of the mystery alone, of all worlds
_MADE_BY = {"embedded": ("embedded",), "worlds": ("embedded_worlds", "embedded_worlds_2")}  # files of params/, in turn


def not_made(name: str) -> str:
    """Say how a model that comes along is made, if its weights are not there; nothing if they are, or it is another."""
    folder = SHIPPED.get(name)
    if folder is None or (folder / "model.safetensors").is_file():
        return ""
    runs, place = _MADE_BY[name], folder.relative_to(ROOT)
    made = ", then ".join(f"make run PARAMS=params/{run}.yaml ONLY=00" for run in runs)
    return (f"{name}: its weights are not there yet: {made} makes it; at last "
            f"mkdir -p {place} && cp outputs/{runs[-1]}/embedded/* {place}/")  # fmt: skip
