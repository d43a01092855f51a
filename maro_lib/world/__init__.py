"""The world: mysteries as data, and the game that is played with them.

A script (YAML, generated, or from a MIRAGE checkout) comes in; a game goes out, which asks its players for replies and
says at the end who has won. Words are data: every sentence that a game says stands in a phrasebook. Taught in
notebook 01.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.world.casebook import find_case
    from maro_lib.world.generator import Knobs, generate, generate_many
    from maro_lib.world.mirage import load_mirage
    from maro_lib.world.mystery import MurderMystery, Rules
    from maro_lib.world.protocol import Message
    from maro_lib.world.scripts import Fact, Script, bundled, dump_script, load_script, parse_script
    from maro_lib.world.solver import is_solvable, suspects

__getattr__, __dir__, __all__ = opened(__name__)
