"""Learning: the method itself, from a game's outcome to a trained adapter.

    decomposition   one outcome per character becomes a label and a weight for each of its actions
    balancing       who is kept, with what weight; and the control, whose labels say nothing
    loss            what is minimised, and the reference point z0
    training        a corpus becomes an adapter

Tables of played games come in; an adapter (safetensors) and the curve of its training go out. Beside these four:
`counterfactuals` (what an action was worth), `credit_models`, `interaction`, `log_ratios`, `shapley` and
`shapley_actions` (rules that are fitted or replayed; `rulebook` and `action_features` serve them), `corpus` (dialogues
as token ids), `trainer` and its parts (`rows`, `adapters`, `references`, `account`, `guard`, `settings`), `launching`
(several processes), `online` (games played anew before every step) and `pairs` (what DPO reads), `drift` (nothing to
learn), `cold_start` (a model that can't play yet) and `export`. Taught in notebooks 03, 04, 05 and 11.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.learn.balancing import NothingToLearn, balance, shuffle_labels
    from maro_lib.learn.corpus import make_corpus
    from maro_lib.learn.counterfactuals import counterfactual_values
    from maro_lib.learn.decomposition import cheap_rules, credit_rules, decompose, label, rank_agreement
    from maro_lib.learn.drift import coin_flips
    from maro_lib.learn.guard import QuickGames
    from maro_lib.learn.launching import launch
    from maro_lib.learn.loss import maro_loss
    from maro_lib.learn.settings import Settings
    from maro_lib.learn.training import train

__getattr__, __dir__, __all__ = opened(__name__)
