"""Learning: the method itself.

Tables of games come in. `decomposition` puts a label on every action, `balancing` says who is kept, `loss` judges, and
`training` leaves an adapter behind. Taught in notebooks 03, 04 and 05.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.learn.balancing import NothingToLearn, balance, shuffle_labels
    from maro_lib.learn.corpus import make_corpus
    from maro_lib.learn.counterfactuals import counterfactual_values
    from maro_lib.learn.decomposition import cheap_rules, credit_rules, decompose, label, rank_agreement
    from maro_lib.learn.drift import coin_flips
    from maro_lib.learn.loss import maro_loss
    from maro_lib.learn.settings import Settings
    from maro_lib.learn.training import train

__getattr__, __dir__, __all__ = opened(__name__)
