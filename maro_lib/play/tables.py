"""What a played game leaves behind: three tables, each column declared here and nowhere else.

`games` has one row per game, `actions` one per reply that a player gave (also an illegal one, which was
sampled like any other), `dialogues` one per view that a player had: the training sequences of later.

Taught in notebook 02.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from maro_lib.wording import nearest


class Column(NamedTuple):
    name: str
    type: pa.DataType
    meaning: str


_text, _texts = pa.string(), pa.list_(pa.string())
_message = pa.struct([("role", pa.string()), ("content", pa.string())])
_span = pa.struct([("t", pa.int32()), ("start", pa.int32()), ("end", pa.int32())])

_GAMES = (
    Column("game", _text, "the game's name, unique in a run"),
    Column("order", pa.int64(), "its place in the run, from 0"),
    Column("script", _text, "title of the script"),
    Column("digest", _text, "content hash of the script"),
    Column("cell", _text, "S/M, O/U, O/C"),
    Column("language", _text, "en or zh"),
    Column("register", _text, "prose or compact"),
    Column("seed", pa.int64(), "decides turn order, where clues lie, every sampled choice"),
    Column("rules", _text, "the game's rules as JSON"),
    Column("players", _texts, "names by seat"),
    Column("factions", _texts, "faction by seat"),
    Column("policies", _texts, "who played, by seat"),
    Column("culprits", _texts, "the culprits at the table"),
    Column("votes", _texts, "vote by seat; empty for an abstention"),
    Column("accused", _text, "who had the most votes; empty for a tie or no votes"),
    Column("winner", _text, "winning faction"),
    Column("success", pa.list_(pa.int8()), "1 if this seat reached its goal, else 0"),
    Column("ending", _text, "the text read out at the end"),
    Column("n_rounds", pa.int32(), "rounds played"),
    Column("n_actions", pa.int32(), "replies given, illegal ones included"),
    Column("n_illegal", pa.int32(), "replies that could not be understood or were not allowed"),
    Column("n_passes", pa.int32(), "turns lost after the last allowed correction"),
    Column("n_cut", pa.int32(), "replies shortened to the longest allowed"),
    Column("clues_found", pa.int32(), "distinct clues found"),
    Column("clues_reachable", pa.int32(), "clues that could have been found"),
)

_ACTIONS = (
    Column("game", _text, "the game's name"),
    Column("order", pa.int64(), "the game's place in the run"),
    Column("step", pa.int32(), "place of the action in the whole game, from 0"),
    Column("script", _text, "title of the script"),
    Column("agent", _text, "who acted: the character's name"),
    Column("seat", pa.int8(), "its seat, from 0"),
    Column("role", _text, "the character's role; its faction when the script names none"),
    Column("faction", _text, "culprit or civilian"),
    Column("policy", _text, "who played this seat"),
    Column("success", pa.int8(), "1 if this agent's side reached its goal, else 0"),
    Column("t", pa.int32(), "the agent's own action index, from 1"),
    Column("n_actions", pa.int32(), "T: how many actions this agent took in this game"),
    Column("round", pa.int32(), "0 for introductions, then 1, 2, ...; the last round for votes"),
    Column("phase", _text, "what was asked of the agent: intro, turn, answer, rate or vote; or a summary of its view"),
    Column("kind", _text, "what it did: intro, ask, search, answer, rate, vote, summary or illegal"),
    Column("target", _text, "whom it asked or voted for"),
    Column("place", _text, "where it searched"),
    Column("clue", _text, "id of the clue it found"),
    Column("text", _text, "the reply, as given"),
    Column("legal", pa.bool_(), "understood and allowed"),
    Column("retry", pa.bool_(), "a second try, after a correction"),
    Column("public", pa.bool_(), "seen by the others"),
    Column("suspicion", pa.list_(pa.int8()), "rate: stated suspicion 0..2 by seat, -1 for itself"),
    Column("trust", pa.list_(pa.int8()), "rate: stated trust 0..2 by seat, -1 for itself"),
    Column("belief", pa.float32(), "rate: mean stated suspicion of the culprits other than itself; else empty"),
)

_DIALOGUES = (
    Column("game", _text, "the game's name"),
    Column("order", pa.int64(), "the game's place in the run"),
    Column("agent", _text, "whose view this is"),
    Column("seat", pa.int8(), "its seat, from 0"),
    Column(
        "view",
        pa.int32(),
        "0, or 1, 2, ...: one more after a summary, or for each action if its template rewrites",
    ),
    Column("messages", pa.list_(_message), "the view as a chat: system, then user and assistant in turn"),
    Column("exact", pa.bool_(), "token ids are as sampled (else the text must be tokenised again)"),
    Column("token_ids", pa.list_(pa.int32()), "the whole view's token ids, as played"),
    Column("logps", pa.list_(pa.float32()), "log-probability of each sampled token, in order"),
    Column("spans", pa.list_(_span), "where each action t lies in token_ids"),
)

TABLES = {"games": _GAMES, "actions": _ACTIONS, "dialogues": _DIALOGUES}
SCHEMAS = {name: pa.schema([pa.field(c.name, c.type) for c in columns]) for name, columns in TABLES.items()}
KEYS = {"games": ["order"], "actions": ["order", "step"], "dialogues": ["order", "seat", "view"]}


def describe(name: str) -> pd.DataFrame:
    """Return a table's columns, types and meanings, to be shown."""
    return pd.DataFrame([(c.name, str(c.type), c.meaning) for c in TABLES[name]], columns=["column", "type", "meaning"])


def action_logps(dialogues: pd.DataFrame) -> pd.DataFrame:
    """Return one row per action whose tokens are known: game, seat, t, how many tokens, and their summed log-prob."""
    rows = []
    for d in dialogues[dialogues["exact"]].itertuples():
        at = 0
        for span in d.spans:
            n = span["end"] - span["start"]
            rows.append((d.game, d.seat, span["t"], n, float(sum(d.logps[at : at + n]))))
            at += n
    return pd.DataFrame(rows, columns=["game", "seat", "t", "tokens", "logp"])


# --- reading a table ------------------------------------------------------------------------------


def require(actions: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise if a column that `what` needs is not in the table."""
    for column in columns:
        if column not in actions.columns:
            raise ValueError(
                f"{what} needs the column `{column}`, which the table lacks{nearest(column, actions.columns)}"
            )


def encode(actions: pd.DataFrame, columns: Iterable[str]) -> np.ndarray:
    """Number the combinations of values from 0, in sorted order: integers, because grouping by text is slow."""
    codes = np.zeros(len(actions), np.int64)
    for column in columns:
        own, values = pd.factorize(actions[column], sort=True, use_na_sentinel=False)
        codes = pd.factorize(codes * len(values) + own, sort=True)[0]
    return codes


def trajectories(actions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return each action's trajectory (one character in one game) as a code, and one row of each trajectory."""
    who = encode(actions, ["game", "agent"])
    return who, np.unique(who, return_index=True)[1]
