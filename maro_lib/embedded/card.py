"""The embedded model's card: how it was made and what it can do, for people and for the test that computes it again.

Its text is in card.md. Written by notebook 00.
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

from maro_lib.embedded.lessons import Recipe
from maro_lib.model.loading import EMBEDDED, quiet
from maro_lib.provenance import git_state
from maro_lib.runs import make_folder, read_record, write_atomic
from maro_lib.statistics import Mean

CARD_TEXT = Path(__file__).with_name("card.md")


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


def read_card(folder: Path = EMBEDDED) -> dict[str, Any]:
    return read_record(folder / "card.json", dict[str, Any], "notebook 00 makes it again")


def save_card(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: Mapping[str, Any], folder: Path
) -> None:
    """Write weights (safetensors), tokenizer and card."""
    make_folder(folder)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_atomic(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_atomic(folder / "README.md", CARD_TEXT.read_text(encoding="utf-8").format(
        recipe_rows="\n".join(f"| {name} | {value} |" for name, value in card["recipe"].items()),
        score_rows="\n".join(f"| {name} | {value} |" for name, value in card["shown"].items()), **card,
    ))  # fmt: skip
