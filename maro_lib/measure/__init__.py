"""Measuring: did it become a better player, and in what?

Games of base and trained players come in (`matches`), and what a judge says of them (`judges`). Out go social metrics
(`metrics`), what players do with their turns (`behaviour`), what a model would choose (`choices`), differences between
base and trained with their intervals (`comparison`), how strong players are who all met each other (`cross_play`,
`strength`), how people do (`people`), and how players of any world decide (`decisions`, `risk`). Taught in notebooks
05, 06, 12, 13 and 14.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.measure.choices import most_moved, vote_probabilities
    from maro_lib.measure.comparison import compare_metrics
    from maro_lib.measure.judgements import failures, judge_games
    from maro_lib.measure.judges import check_judge, seated
    from maro_lib.measure.kinds import kind_folder, other_books
    from maro_lib.measure.matches import gains, match, play_base, rematch, saved
    from maro_lib.measure.metrics import social
    from maro_lib.measure.rouge import rouge_l

__getattr__, __dir__, __all__ = opened(__name__)
