"""Measuring: did it become a better player, and in what?

Games of base and trained players come in; metrics with intervals, paired differences and judgements go out. Taught in
notebook 06.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.measure.choices import most_moved, vote_probabilities
    from maro_lib.measure.judgements import failures, judge_games
    from maro_lib.measure.judges import seated
    from maro_lib.measure.matches import gains, match, play_ahead
    from maro_lib.measure.metrics import Ratings, social
    from maro_lib.measure.rouge import rouge_l

__getattr__, __dir__, __all__ = opened(__name__)
