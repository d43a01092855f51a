"""The picture of the loop: play, credit, balance, train, rematch, with the present stage lit.

`make pages` draws `notebooks/images/loop.png` and one picture for each of notebooks 01 to 06.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from maro_lib.runs import ROOT
from maro_lib.show.figures import COLOURS

IMAGES = ROOT / "notebooks" / "images"
WIDTH, HEIGHT, SCALE = 900, 170, 2  # in pixels of a page; the file has SCALE times as many
INK, QUIET, EDGE, UNLIT = "#24292f", "#57606a", "#8c959f", "#f3f5f7"


@dataclass(frozen=True)
class LoopStage:
    """One stage of the loop: its name, what happens there, and the notebooks that teach it."""

    name: str
    what: str
    notebooks: tuple[str, ...]


LOOP = (
    LoopStage("play", "copies of a model\nplay each other", ("01", "02")),
    LoopStage("credit", "the win or loss goes\nto every action", ("03",)),
    LoopStage("balance", "no side owns\nthe training set", ("04",)),
    LoopStage("train", "raise what won,\nlower what lost", ("05",)),
    LoopStage("rematch", "trained against base\nin the same games", ("06",)),
)
BOX, GAP, UPPER, TALL = 148, 30, 146, 96  # a stage's width, the arrow between two, the upper edge, the height


def draw_loop(lit: str = "") -> Figure:
    """Draw the loop; the stage that notebook `lit` teaches is filled with MARO's blue."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100 * SCALE, facecolor="none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    ax.axis("off")
    ax.add_patch(_rounded(2, 2, WIDTH - 4, HEIGHT - 4, radius=14, facecolor="white", edgecolor="#d0d7de"))
    left = (WIDTH - len(LOOP) * BOX - (len(LOOP) - 1) * GAP) / 2
    edges = [left + k * (BOX + GAP) for k in range(len(LOOP))]
    for stage, x in zip(LOOP, edges, strict=True):
        _stage(ax, stage, x, lit)
    for x in edges[1:]:
        ax.add_patch(_arrow([(x - GAP + 4, UPPER - TALL / 2), (x - 4, UPPER - TALL / 2)]))
    _way_back(ax, edges[-1] + BOX / 2, edges[0] + BOX / 2)
    return figure


def _stage(ax: Axes, stage: LoopStage, x: float, lit: str) -> None:
    """Draw one box: its name, what happens in it, and its notebooks' numbers."""
    blue = COLOURS["MARO"]
    fill, edge, ink, quiet = (blue, blue, "white", "white") if lit in stage.notebooks else (UNLIT, EDGE, INK, QUIET)
    ax.add_patch(_rounded(x, UPPER - TALL, BOX, TALL, radius=10, facecolor=fill, edgecolor=edge))
    ax.text(x + 12, UPPER - 20, stage.name, color=ink, fontsize=12, fontweight="bold", va="center")
    ax.text(x + 12, UPPER - 40, stage.what, color=ink, fontsize=9, va="top", linespacing=1.35)
    for k, number in enumerate(reversed(stage.notebooks)):
        style = {"color": quiet, "fontsize": 8.5, "fontweight": "bold" if number == lit else "normal"}
        ax.text(x + BOX - 12 - 23 * k, UPPER - 20, number, ha="right", va="center", **style)


def _way_back(ax: Axes, start: float, end: float) -> None:
    """Draw the arrow from the last stage back to the first, and what it carries."""
    low, bottom = 28, UPPER - TALL
    ax.plot([start, start, end, end], [bottom - 2, low, low, bottom - 12], color=QUIET, linewidth=1.6)
    ax.add_patch(_arrow([(end, low), (end, bottom - 2)]))
    ax.text((start + end) / 2, low, "  the trained model plays the next round  ", color=QUIET, fontsize=9,
            ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def _rounded(x: float, y: float, width: float, height: float, radius: float, **colours: str) -> FancyBboxPatch:
    shape = f"round,pad=0,rounding_size={radius}"
    return FancyBboxPatch((x, y), width, height, boxstyle=shape, linewidth=1, **colours)


def _arrow(ends: list[tuple[float, float]]) -> FancyArrowPatch:
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "linewidth": 1.6, "color": QUIET, "shrinkA": 0, "shrinkB": 0}
    return FancyArrowPatch(*ends, **style)


def write_loops(folder: Path = IMAGES) -> list[Path]:
    """Write the plain loop and one picture per notebook that teaches a stage; return the files."""
    numbers = ["", *(number for stage in LOOP for number in stage.notebooks)]
    files = [folder / f"loop{'_' * bool(number)}{number}.png" for number in numbers]
    for number, file in zip(numbers, files, strict=True):
        draw_loop(number).savefig(file, transparent=True, metadata={"Software": None})
    return files


if __name__ == "__main__":
    print(*write_loops(), sep="\n")
