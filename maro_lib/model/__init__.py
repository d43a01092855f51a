"""Models: language models as players, on this machine or on a server.

Weights and views come in; replies go out, with the token ids as they were sampled. No view is read twice, nothing is
rendered twice, and no code or pickle is loaded. Used from notebook 02 on.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.model.ahead import play_shares
    from maro_lib.model.chat import Chat
    from maro_lib.model.loading import EMBEDDED, START_ADAPTER, STUDY_ADAPTER, Loaded, as_nf4, best_device, load
    from maro_lib.model.local import LocalPolicy, Sampling
    from maro_lib.model.players import SCRIPTED, Player, learner
    from maro_lib.model.server import ServerPolicy

__getattr__, __dir__, __all__ = opened(__name__)
