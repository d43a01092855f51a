"""The embedded model's card: how it was made and what it can do, for people and for the test that computes it again.

Written by notebook 00.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from maro_lib.embedded.recipe import Recipe
from maro_lib.model.loading import quiet
from maro_lib.runs import make_folder, write_atomic
from maro_lib.statistics import Mean
from maro_lib.summary import git_state

TEXT = """# The embedded model

A Qwen2 of {parameters:,} weights that plays the compact register of the murder mystery and answers small tasks. Made
from nothing by `notebooks/00_embedded_model.ipynb`; `make run PARAMS=params/embedded.yaml ONLY=00` makes it again.

**Data.** {tokens_seen:,} tokens in {steps:,} steps: views of generated games between scripted players, each good or bad
for a whole game; drills in copying and in reading evidence; arithmetic, instruction and who-was-where tasks. All of it
is generated from the seed; no text in it is anybody's.

**Made** on {date}, {machine}, in {seconds:,} s, at commit {commit}.

| recipe | |
|---|---|
{recipe_rows}

| score, on games and items that no lesson showed | mean, 95 % interval, n |
|---|---|
{score_rows}

**Limits.** It knows a few hundred words and nothing of the world; outside its games and tasks it writes nonsense. It is
a mixture of good and bad players by design, so that there is something to learn. It was never taught to sum up a view,
nor to obey two instructions at once: half of the scored instructions ask for that. Recipes were compared on these very
games and items, which flatters the scores; the intervals of wins resample games, not the 25 mysteries.
"""


def make_card(
    model: PreTrainedModel, recipe: Recipe, curve: pd.DataFrame, seconds: float, scores: Mapping[str, Mean]
) -> dict[str, Any]:
    """Say how a model was made, and what it can do."""
    last, git = curve.iloc[-1], git_state()
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "steps": int(last["step"]),
        "tokens_seen": int(last["tokens"]), "seconds": round(seconds), "machine": platform.machine(),
        "date": datetime.date.today().isoformat(), "commit": git.get("commit", "unknown"), "recipe": asdict(recipe),
        "curve": curve[["tokens", "loss", "legal", "right"]].round(4).to_dict("list"),
        "scores": {name: asdict(score) for name, score in scores.items()},
        "shown": {name: str(score) for name, score in scores.items()},
    }  # fmt: skip


def save_card(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: Mapping[str, Any], folder: Path
) -> None:
    """Write weights (safetensors), tokenizer and card."""
    make_folder(folder)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_atomic(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_atomic(folder / "README.md", TEXT.format(
        recipe_rows="\n".join(f"| {name} | {value} |" for name, value in card["recipe"].items()),
        score_rows="\n".join(f"| {name} | {value} |" for name, value in card["shown"].items()), **card,
    ))  # fmt: skip
