"""Sharing: what was made here, in the forms of other tools.

A finished run comes in; folders go out, each with a card, that `datasets`, TRL, PEFT and transformers read: the
balanced training set, the self-play games, the adapter, the merged weights. Nothing is sent anywhere, no key is read.
`python -m maro_lib export outputs/<run> --to FOLDER`.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.share.exporting import export_run
    from maro_lib.share.training_set import conversations, preferences

__getattr__, __dir__, __all__ = opened(__name__)
