"""The embedded model: a small language model that comes along, and how it is made.

A seed and a `Recipe` come in. `lessons` are what the model reads (games of scripted players, drills, `tasks`; of
`other_worlds` too where the recipe names some), `pretraining` makes it from nothing, `exam` says what it can do.
Weights, tokenizer and card go out; `weights/` holds those that are shipped. Taught in notebook 00.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.embedded.card import make_card, read_card, save_card
    from maro_lib.embedded.exam import take_exam
    from maro_lib.embedded.lessons import HOME, Recipe, any_game, clue_drill, drill, recipe_of, views, weigh
    from maro_lib.embedded.pretraining import learn, weighted_loss
    from maro_lib.embedded.tasks import TASKS, items

__getattr__, __dir__, __all__ = opened(__name__)
