"""The embedded model: a small language model that comes along, and how it is made.

A seed comes in; lessons, weights, an exam and a card go out. `weights/` holds what was made. Taught in notebook 00.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.embedded.card import make_card, save_card
    from maro_lib.embedded.exam import take_exam
    from maro_lib.embedded.lessons import HOME, any_game, clue_drill, drill, views, weigh
    from maro_lib.embedded.pretraining import learn, weighted_loss
    from maro_lib.embedded.recipe import Recipe
    from maro_lib.embedded.tasks import TASKS, items

__getattr__, __dir__, __all__ = opened(__name__)
