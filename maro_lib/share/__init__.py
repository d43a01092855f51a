"""Sharing: what was made here, in the forms of other tools, and other people's games as this kit's tables.

A finished run comes in; folders go out, each with a card, that `datasets`, TRL, PEFT, transformers, llama.cpp and
`verifiers` read. Other people's games come in, as JSON, JSON lines or Parquet; a run goes out whose `rollout` later
notebooks read like one that was played here. Nothing is sent anywhere, no key is read.

`exporting` makes all folders, one module each, into a `folder` in which nothing is half-written: `training_set`,
`game_set`, `weights`, `gguf_weights` and `environment`, whose package plays by `verifiers_game`; `cards` and `terms`
say what they are, and whether they may be passed on. `forms` reads others' games, `foreign` makes a run of them.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.share.exporting import export_run
    from maro_lib.share.foreign import import_games
    from maro_lib.share.forms import ForeignGame, read_games
    from maro_lib.share.gguf_weights import write_gguf
    from maro_lib.share.training_set import conversations, preferences

__getattr__, __dir__, __all__ = opened(__name__)
