"""Sharing: what was made here, in the forms of other tools.

A finished run comes in; folders go out, each with a card, that `datasets`, TRL, PEFT, transformers, llama.cpp and
`verifiers` read. Nothing is sent anywhere, no key is read. `exporting` makes them all, one module each, into a `folder`
in which nothing is half-written: `training_set`, `game_set`, `weights`, `gguf_weights` and `environment`, whose package
plays by `verifiers_game`. `cards` and `terms` say what they are, and whether they may be passed on.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.share.exporting import export_run
    from maro_lib.share.gguf_weights import write_gguf
    from maro_lib.share.training_set import conversations, preferences

__getattr__, __dir__, __all__ = opened(__name__)
