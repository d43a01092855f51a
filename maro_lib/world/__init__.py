"""The world: mysteries as data, and the game that is played with them.

A script comes in (YAML, generated from a seed and knobs, or from a MIRAGE checkout); a game goes out, which asks its
players for replies and says at the end who has won. `protocol` is what every world is asked for, `mystery` is the one
that there is. Words are data: every sentence that a game says or a mystery is told in stands in words/*.yaml, checked
when read. Taught in notebook 01.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.world.casebook import find_case
    from maro_lib.world.generator import Knobs, generate, generate_many
    from maro_lib.world.mirage import load_mirage
    from maro_lib.world.mystery import MurderMystery, Rules
    from maro_lib.world.protocol import Message
    from maro_lib.world.scripts import FACTIONS, Fact, bundled, dump_script, load_script, parse_script
    from maro_lib.world.solver import is_solvable, suspects

__getattr__, __dir__, __all__ = opened(__name__)
