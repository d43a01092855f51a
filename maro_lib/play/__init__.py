"""Play: who plays, and what a played game leaves behind.

Games of the world and players for their seats come in; tables of games, actions and dialogues go out (columns.yaml says
which columns they have), as shards on disk that a killed run goes on from. Here a script is audited, too: is it fit to
be played, and does a secret leak? Taught in notebook 02.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.play.gamebook import Gamebook, load_gamebook
    from maro_lib.play.leaks import find_leaks
    from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Mixture, Reply
    from maro_lib.play.pool import pool_of
    from maro_lib.play.rollout import count_replies, play, schedule
    from maro_lib.play.shards import read_scripts, read_table
    from maro_lib.play.tables import action_logps, describe

__getattr__, __dir__, __all__ = opened(__name__)
