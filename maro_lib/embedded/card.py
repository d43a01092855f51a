"""The embedded model's card: how it was made and what it can do, for people and for the test that computes it again.

Its text is in card.md, that of a model of several worlds in card_worlds.md, with a row for each world. Written by
notebook 00.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from maro_lib.embedded.exam import MARKS
from maro_lib.embedded.lessons import Recipe
from maro_lib.embedded.other_worlds import HOME_WORLD, examined
from maro_lib.model.loading import EMBEDDED, model_folder
from maro_lib.provenance import git_state
from maro_lib.runs import read_record, write_atomic
from maro_lib.statistics import Mean

CARD_TEXT, WORLDS_TEXT = (Path(__file__).with_name(name) for name in ("card.md", "card_worlds.md"))
OF_WORLD = ("legal first replies", "success", *(f"success of {name} players" for name in MARKS))  # a row's scores


def make_card(
    model: PreTrainedModel, recipe: Recipe, curve: pd.DataFrame, seconds: float, scores: Mapping[str, Mean]
) -> dict[str, Any]:
    """Say how a model was made, and what it can do."""
    last, git = curve.iloc[-1], git_state()
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "steps": int(last["step"]),
        "tokens_seen": int(last["tokens"]), "tokens_before": _tokens_before(recipe.start),
        "seconds": round(seconds), "machine": platform.machine(), "date": datetime.date.today().isoformat(),
        "commit": git.get("commit", "unknown"), "recipe": asdict(recipe),
        "curve": curve[["tokens", "loss", "legal", "right"]].round(4).to_dict("list"),
        "scores": {name: asdict(score) for name, score in scores.items()},
        "shown": {name: str(score) for name, score in scores.items()},
    }  # fmt: skip


def read_card(folder: Path = EMBEDDED) -> dict[str, Any]:
    return read_record(folder / "card.json", dict[str, Any], "notebook 00 makes it again")


def _tokens_before(start: str) -> int:
    """How many tokens a model that the lessons went on from had read, by its card, if it has one; in all its parts."""
    folder = model_folder(start) if start else None
    card = read_card(folder) if folder and (folder / "card.json").exists() else {}
    return card.get("tokens_seen", 0) + card.get("tokens_before", 0)


def save_card(card: Mapping[str, Any], folder: Path) -> None:
    """Write a card beside its weights, for programs and for people."""
    write_atomic(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_atomic(folder / "README.md", card_text(card))


def card_text(card: Mapping[str, Any]) -> str:
    """Write a card out for people."""
    worlds = card["recipe"].get("worlds", (HOME_WORLD,))
    several = len(worlds) > 1
    by_world = {place: [card["shown"].get(f"{place}: {score}", "not examined") for score in OF_WORLD]
                for place in (examined(worlds) if several else ())}  # fmt: skip
    own = {name: value for name, value in card["shown"].items() if name.partition(": ")[0] not in by_world}
    return (WORLDS_TEXT if several else CARD_TEXT).read_text(encoding="utf-8").format(
        recipe_rows=_rows(card["recipe"].items()), score_rows=_rows(own.items()),
        world_rows=_rows((world, *scores) for world, scores in by_world.items()),
        after=f", after {card['tokens_before']:,} in which it was made" if card.get("tokens_before") else "",
        like_random="; ".join(_like_random(card.get("scores", {}), by_world)) or "none", **card,
    )  # fmt: skip


def _like_random(scores: Mapping[str, Any], worlds: Iterable[str]) -> Iterator[str]:
    """Yield the worlds in which a model is not clearly more successful than random players."""
    for world in worlds:
        own, by_chance = (scores.get(f"{world}: success{of}") for of in ("", " of random players"))
        if own and by_chance and own["low"] <= by_chance["high"]:
            yield world


def _rows(rows: Iterable[tuple[Any, ...]]) -> str:
    """Write the rows of a Markdown table."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
