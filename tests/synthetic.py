"""Made-up `actions` tables in the declared schema: games without a game, for tests of what comes after playing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from maro_lib.play.tables import SCHEMAS

EMPTY = {
    "order": 0, "script": "manor", "seat": 0, "role": "civilian", "faction": "civilian", "policy": "random",
    "success": 0, "round": 0, "phase": "turn", "kind": "ask", "target": "", "place": "", "clue": "", "text": "",
    "legal": True, "retry": False, "public": True, "suspicion": None, "trust": None, "belief": None,
}  # fmt: skip


def table(rows: list[dict]) -> pd.DataFrame:
    """Return rows as an actions table; `step`, `t` and `n_actions` are counted unless given."""
    made = pd.DataFrame([EMPTY | row for row in rows])
    made["step"] = made.get("step", made.groupby("game").cumcount())
    made["t"] = made.get("t", made.groupby(["game", "agent"]).cumcount() + 1)
    made["n_actions"] = made.get("n_actions", made.groupby(["game", "agent"])["game"].transform("size"))
    made["belief"] = made["belief"].astype("float32")
    made["payoff"] = made.get("payoff", 2.0 * made["success"] - 1)
    return pa.Table.from_pandas(made, schema=SCHEMAS["actions"], preserve_index=False).to_pandas()


def played(*seats: tuple) -> pd.DataFrame:
    """Return a table of seats (game, order, agent, role, success, T); the role culprit is its own faction."""
    rows = [
        {"game": game, "order": order, "agent": agent, "role": role, "success": success,
         "faction": "culprit" if role == "culprit" else "civilian"}
        for game, order, agent, role, success, n_actions in seats
        for _ in range(n_actions)
    ]  # fmt: skip
    return table(rows)


def make_actions(
    n_games: int, seed: int = 0, *, n_characters: int = 6, n_rounds: int = 3, n_scripts: int = 2, p_caught: float = 0.4
) -> pd.DataFrame:
    """Return games of introductions, rounds of turns and ratings, and votes; the culprit sits at seat 0.

    Roles: culprit, detective, and witness for the others. Some ratings and turns are illegal.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for game in range(n_games):
        caught = rng.random() < p_caught
        base = {"game": f"game-{game:06d}", "order": game, "script": f"script {rng.integers(n_scripts)}"}
        for seat, fields in _moves(rng, n_characters, n_rounds):
            faction = "civilian" if seat else "culprit"
            role = {0: "culprit", 1: "detective"}.get(seat, "witness")
            who = {"agent": f"Agent {seat}", "seat": seat, "role": role, "faction": faction}
            rows.append(base | who | {"success": int(caught == bool(seat))} | fields)
    return table(rows)


def _moves(rng: np.random.Generator, n_characters: int, n_rounds: int):
    """Yield (seat, columns) of one game, in order."""
    seats = range(n_characters)
    for seat in seats:
        yield seat, {"round": 0, "phase": "intro", "kind": "intro"}
    for k in range(1, n_rounds + 1):
        for seat in rng.permutation(n_characters):
            legal = rng.random() < 0.9
            yield int(seat), {"round": k, "kind": "search" if legal else "illegal", "legal": legal, "public": legal}
        for seat in seats:
            stated = seat > 0 and rng.random() < 0.9
            belief = float(rng.integers(5)) / 2 if stated else None
            yield seat, {"round": k, "phase": "rate", "kind": "rate", "public": False, "belief": belief}
    for seat in seats:
        yield seat, {"round": n_rounds, "phase": "vote", "kind": "vote"}
