"""What a model can do: how it plays with itself, and how it answers small tasks that it was never taught on.

The games are of the notebooks' size, their mysteries from a seed that no lesson and no run uses. The card of the
embedded model holds these scores, and a test computes them again. Taught in notebook 00.
"""

from __future__ import annotations

from dataclasses import asdict

from maro_lib.embedded import tasks
from maro_lib.embedded.lessons import HOME
from maro_lib.model.loading import Loaded
from maro_lib.model.local import LocalPolicy, answers
from maro_lib.play.rollout import Game, Played, play, schedule
from maro_lib.statistics import Rate, bootstrap_mean, win_rate
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

EXAM_SEED = 900_000


def exam_games(n: int) -> list[Game]:
    """The games that a model is examined on: as the notebooks play them, by scripts that no lesson has shown."""
    return schedule(generate_many(25, EXAM_SEED, HOME), n, EXAM_SEED, Rules(rounds=2))


def take_exam(loaded: Loaded, n_games: int = 100, n_items: int = 200) -> dict[str, Rate]:
    """Score a model: how it plays with itself, and how it answers held-out tasks."""
    played = play(exam_games(n_games), LocalPolicy(loaded), concurrency=n_games)
    return playing_scores(played) | {task: task_score(loaded, task, n_items) for task in tasks.TASKS}


def playing_scores(played: Played) -> dict[str, Rate]:
    """Legal first replies, civilians' votes that name a culprit, civilians' wins; intervals resample whole games."""
    games, actions = played.table("games"), played.table("actions")
    first = actions[~actions["retry"]]
    votes = actions[(actions["kind"] == "vote") & (actions["faction"] == "civilian")]
    culprits = games.set_index("game")["culprits"]
    right = [float(v.target in culprits[v.game]) for v in votes.itertuples()]
    legal = bootstrap_mean(first["legal"].astype(float), 0, groups=first["game"])
    return {
        "legal first replies": Rate(**asdict(legal)),
        "civilians' right votes": Rate(**asdict(bootstrap_mean(right, 0, groups=votes["game"]))),
        "civilians win": win_rate(games["winner"] == "civilian"),
    }


def task_score(loaded: Loaded, task: str, n: int) -> Rate:
    """The share of held-out items of one task that are answered rightly."""
    asked = tasks.items(task, n, EXAM_SEED, held_out=True)
    said = answers(loaded, [i.prompt for i in asked])
    return win_rate([tasks.is_right(i, s) for i, s in zip(asked, said, strict=True)])
