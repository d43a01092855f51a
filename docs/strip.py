"""The picture of one game in the README: its rounds and its vote, drawn from a game that is played anew.

Scripted players play it, so that it is the same on every machine. `make pages` draws `notebooks/images/game.png`.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from maro_lib.embedded.lessons import HOME
from maro_lib.play import Mixture, play, schedule
from maro_lib.runs import ROOT
from maro_lib.show.strip import plot_strip
from maro_lib.world import Rules, generate_many

PICTURE = ROOT / "notebooks" / "images" / "game.png"
SEED = 13  # of a game in which the culprit is found out


def draw_game(seed: int = SEED) -> Figure:
    """Play a game of scripted players, and draw it."""
    played = play(schedule(generate_many(1, seed, HOME), 1, seed, Rules(rounds=3)), Mixture())
    return plot_strip(played.table("games").iloc[0], played.table("actions"))


def write_game(path: Path = PICTURE) -> Path:
    draw_game().savefig(path, dpi=160, metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(write_game())
