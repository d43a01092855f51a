"""Mysteries from wherever they lie: a file, a folder, a case that comes with the kit, a MIRAGE checkout.

Taught in notebook 01.
"""

from __future__ import annotations

from maro_lib.runs import located
from maro_lib.world.mirage import is_mirage, load_mirage
from maro_lib.world.scripts import Script, ScriptError, bundled, load_script


def find_scripts(path: str) -> tuple[list[Script], list[str]]:
    """Return the scripts that a path or a case's name means, and notes on what was odd about them."""
    place, cases = located(path), bundled()
    if place.is_file():
        return [load_script(place)], []
    if place.is_dir() and is_mirage(place):
        checkout = load_mirage(place)
        notes = [f"{title}: {note}" for title, its in checkout.notes.items() for note in its]
        return list(checkout.scripts.values()), notes
    if place.is_dir() and (files := sorted([*place.glob("*.yaml"), *place.glob("*.yml")])):
        return [load_script(f) for f in files], []
    if path in cases:
        return [cases[path]], []
    raise ScriptError(f"{path}: no script there; give a YAML file, a folder of them, a MIRAGE checkout, "
                      f"or a bundled case ({', '.join(cases)})")  # fmt: skip


def find_case(name: str) -> Script:
    """Return a bundled case; an unknown name is answered with those that there are."""
    if (found := bundled().get(name)) is None:
        raise ScriptError(f"{name!r} is no bundled case; there are {', '.join(bundled())}")
    return found


def find_playable(path: str) -> list[Script]:
    """Return those that can be played: a script whose culprit is not among the players is named and left out."""
    scripts, notes = find_scripts(path)
    notes += [f"{s.title}: left out, its culprit is not among the players" for s in scripts if not s.culprits]
    print(*notes, sep="\n", end="\n" if notes else "")
    if not (playable := [s for s in scripts if s.culprits]):
        raise ScriptError(f"{path}: no script there can be played: no culprit is among the players")
    return playable
