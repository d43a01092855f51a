"""Other worlds: games with rules of their own, in which other things are social than in a mystery.

A name and knobs come in; scenarios and games of them go out, which ask, answer and end as a mystery does, so that what
works there works here: credit, balance, matches, leak tests, a person in a seat. A world is one file and its words: its
course, its payoffs, its rule of success, its players by rule. Taught in notebook 14.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.worlds.commands import numbers, written
    from maro_lib.worlds.registry import WORLDS, WorldError, find_world, knob_values, knobs_of, scenarios
    from maro_lib.worlds.world import Happening, World, WorldRules

__getattr__, __dir__, __all__ = opened(__name__)
