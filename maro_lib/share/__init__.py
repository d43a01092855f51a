"""Sharing: what was made here, in the forms of other tools, and other people's games as this kit's tables.

Other people's games come in, as JSON, JSON lines or Parquet; a run goes out whose `rollout` later notebooks read like
one that was played here. Nothing is sent anywhere, and no key is read.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.share.foreign import import_games
    from maro_lib.share.forms import ForeignGame, read_games

__getattr__, __dir__, __all__ = opened(__name__)
