"""After a game with a person: the truth, whom the others suspected, and what each move of theirs was worth.

Taught in notebook 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from maro_lib.learn.decomposition import credit_rules, decompose
from maro_lib.markup import Html, Shown, card, fold, join, prose, tag
from maro_lib.play.policies import Policy
from maro_lib.play.sitting import Sitting, instead
from maro_lib.show.strip import suspicion_by_round
from maro_lib.show.transcript import show_game, side_by_side, suspicion_table
from maro_lib.world.scripts import Script
from maro_lib.worlds.registry import find_world

RULES = ("uniform", "belief_shift")


def debrief(
    sitting: Sitting, seat: int, *, rules: Sequence[str] = RULES, others: Mapping[str, Policy] | None = None
) -> Shown:
    """Show how a game went for who sat in a seat; `others`, else an opponent, say what they would have done there."""
    played, script = sitting.tables(), sitting.game.script
    row, actions = played.table("games").iloc[0], played.table("actions")
    rules = rules if script.world == "mystery" else [rule for rule in rules if rule != "belief_shift"]  # nobody rates
    line = outcome(sitting, seat)
    columns = {rule: decompose(actions, rule) for rule in rules}
    mine = actions[actions["seat"] == seat]
    if others is None:
        others = {"an opponent": sitting.opponent} if sitting.opponent else {}
    would = {f"{name} would": pd.Series(instead(sitting, seat, policy), mine.index) for name, policy in others.items()}
    moves = side_by_side(mine, columns, script=script, beside=would, title="Your moves, and what they were worth")
    whole = show_game(played, row["game"], script=script, credit=columns[rules[0]])
    suspected = _suspected(actions, script, seat) if script.world == "mystery" else join()
    parts = (suspected, moves.html, _told(rules), fold("The whole game", whole.html))
    return Shown(line, card(prose(line, style="font-size:16px;font-weight:600"), *parts, language=row["language"]))


def _told(rules: Sequence[str]) -> Html:
    """Say what each rule gives, as the table of rules does."""
    formulas = credit_rules().set_index("name")["formula"]
    return join(*(tag("div", tag("b", rule), ": ", formulas[rule], style="font-size:12px") for rule in rules))


def outcome(sitting: Sitting, seat: int) -> str:
    """Say how a game ended for a seat, and what was true."""
    script, row = sitting.game.script, sitting.tables().table("games").iloc[0]
    me = script.characters[seat]
    reached = "reached your goal" if row["success"][seat] else "missed your goal"
    if script.world != "mystery":
        goal = find_world(script.world).success
        return f"You were {me.name}, {me.role}, got {row['payoffs'][seat]:g}, and {reached} ({goal})."
    accused = f"{row['accused']} was accused" if row["accused"] else "Nobody was accused"
    return f"You were {me.name}, {me.faction}, and {reached}. {accused}. It was {', '.join(script.culprits)}."


def _suspected(actions: pd.DataFrame, script: Script, seat: int) -> Html:
    by_round = pd.DataFrame(suspicion_by_round(actions, script.names)).T
    if by_round.empty:
        return join("Nobody rated anybody in this game.")
    notes = {script.names[seat]: "you"} | dict.fromkeys(script.culprits, "guilty")
    if script.names[seat] in script.culprits:
        notes[script.names[seat]] = "you, guilty"
    return suspicion_table(by_round.rename(index="after round {}".format), notes)
