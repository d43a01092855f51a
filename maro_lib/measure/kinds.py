"""Kinds of mystery other than a run's own: does what it learned hold there?

A kind is what changes in the mysteries that notebook 02 plays by default (`embedded.HOME`): {stages: 2, ending: open}.
A run plays matches in several (`elsewhere`), each in a folder of its own, laid out as its own matches are:

    outputs/<run>/matches/elsewhere/<kind>/

Taught in notebook 05; params/sweeps/complexity.yaml trains in each kind and plays in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from maro_lib.embedded.lessons import HOME
from maro_lib.play.gamebook import Gamebook
from maro_lib.wording import nearest
from maro_lib.world.generator import Knobs

Changes = Mapping[str, Mapping[str, Any]]  # what sets each kind apart, by its name

_TRAITS = tuple(field.name for field in fields(Knobs))


def kind_folder(matches: Path, kind: str) -> Path:
    """Where the matches in a kind of mystery are, below those of the run."""
    return matches / "elsewhere" / kind


def kind_books(own: Gamebook, kinds: Changes) -> dict[str, Gamebook]:
    """Return a gamebook for each kind, with the seed, the rules and the words of a run's own."""
    home = replace(HOME, register=own.knobs.register, language=own.knobs.language)
    return {kind: replace(own, script="", knobs=replace(home, **changed)) for kind, changed in kinds.items()}


def other_books(own: Gamebook, kinds: Changes) -> dict[str, Gamebook]:
    """Return those that are not the run's own kind."""
    return {kind: book for kind, book in kind_books(own, kinds).items() if book != own}


def kind_problems(kinds: Changes) -> Iterator[str]:
    """Yield what is wrong with kinds: a name that is no folder's, a trait that there is not, what can't be made."""
    for kind, changed in kinds.items():
        if not re.fullmatch(r"\w[\w .-]*", kind):
            yield f"elsewhere: {kind!r} can't name a folder; use letters, digits, spaces, `_`, `-` and `.`"
        if unknown := [trait for trait in changed if trait not in _TRAITS]:
            hint = nearest(unknown[0], _TRAITS) or f"; there are {', '.join(_TRAITS)}"
            yield f"elsewhere: {kind}: unknown trait `{unknown[0]}`{hint}"
        else:
            try:
                replace(HOME, **changed)
            except ValueError as error:
                yield from (f"elsewhere: {kind}: {problem}" for problem in str(error).splitlines())
