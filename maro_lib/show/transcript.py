"""A game to read: what was asked, answered, found, rated and voted, in colour, with the credit of every action.

Everything is HTML made of `maro_lib.markup`, from the tables alone; a script adds the clues' words. What only one
player knew is folded away under a lock.

Taught in notebooks 01 (a view), 02 (a game) and 03 (rules side by side).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any

import pandas as pd

from maro_lib.markup import Html, Shown, card, fold, join, prose, tag
from maro_lib.show.looks import (
    BLAME,
    LOCK,
    PRAISE,
    SUSPICION,
    TRUST,
    Css,
    badge,
    game_part,
    named,
    seat_table,
    secret,
    speaker_edge,
    table_row,
    titled,
    wash,
)
from maro_lib.show.noted import MYSTERY, about_world, ended_as, own_columns, said_value
from maro_lib.wording import counted
from maro_lib.world.replies import Move, Spelling, name_spelling, parse
from maro_lib.world.scripts import Clue, Script

VERBS = {"intro": "says", "say": "says", "ask": "asks", "answer": "answers", "search": "searches", "rate": "rates",
          "vote": "votes for", "summary": "sums up for itself", "illegal": "replies against the rules"}  # fmt: skip


@dataclass(frozen=True)
class _Scene:
    """What the parts of one view share: who sits at the table, and what the reader may know."""

    names: tuple[str, ...]
    script: Script | None = None
    credit: Mapping[object, float] | None = None  # by the action's index
    culprits: tuple[str, ...] = ()  # empty when they are not revealed
    own: tuple[str, ...] = ()  # what another world notes of its actions

    @cached_property
    def clues(self) -> dict[str, Clue]:
        return {c.id: c for c in self.script.clues} if isinstance(self.script, Script) else {}

    @cached_property
    def spelling(self) -> Spelling | None:
        return name_spelling(self.script) if isinstance(self.script, Script) else None

    @cached_property
    def top(self) -> float:
        """The largest credit: full colour."""
        return max((abs(v) for v in (self.credit or {}).values()), default=0.0)

    def name(self, who: str) -> Html:
        return named(who, self.names)


# --- a game ------------------------------------------------------------------------------------------


def show_game(
    tables: Any, game: str, *, script: Script | None = None, credit: pd.Series | None = None,
    reveal: bool = True, views: bool = False,
) -> Shown:  # fmt: skip
    """Show one game of a rollout (a `Played`, or a mapping from names to tables).

    `credit` holds weights on the index of the actions table. Without `reveal` factions, winner and ending stay
    hidden; with `views` each player's whole view is added, folded.
    """
    row, actions = _only_game(_read(tables, "games"), game), _of_game(_read(tables, "actions"), game)
    scene = _scene(row, actions, script, credit, reveal)
    parts = [_header(row, scene, reveal), *_rounds(actions, scene)]
    if reveal and row.get("ending"):
        parts.append(game_part("How it ends", prose(row["ending"], style=Css.BOX)))
    if views:
        parts.append(_views(_of_game(_read(tables, "dialogues"), game)))
    return Shown(_line(row, reveal), card(*parts, language=row["language"]))


def _read(tables: Any, name: str) -> pd.DataFrame:
    return tables[name] if isinstance(tables, Mapping) else tables.table(name)


def _only_game(games: pd.DataFrame, game: str) -> pd.Series:
    rows = _of_game(games, game)
    if rows.empty:
        known = ", ".join(games["game"].head(3))
        raise ValueError(f"game {game!r} is not among the {len(games):,} games of these tables (they begin: {known})")
    return rows.iloc[0]


def _of_game(table: pd.DataFrame, game: str) -> pd.DataFrame:
    return table[table["game"] == game]


def _scene(
    row: pd.Series, actions: pd.DataFrame, script: Script | None, credit: pd.Series | None, reveal: bool
) -> _Scene:
    if script is not None and script.digest != row["digest"]:
        raise ValueError(f"game {row['game']!r} was played from {row['script']!r}, not from this {script.title!r}")
    weights = _credit(actions, credit)
    if not _is_mystery(row):
        return _Scene(tuple(row["players"]), credit=weights, own=(*own_columns(row["world"], "actions", actions),))
    return _Scene(tuple(row["players"]), script, weights, tuple(row["culprits"]) if reveal else ())


def _is_mystery(row: pd.Series) -> bool:
    return row.get("world", MYSTERY) == MYSTERY


def _credit(actions: pd.DataFrame, credit: pd.Series | None) -> dict[object, float] | None:
    """Return credit by the actions' index; an action may have none."""
    if credit is None:
        return None
    if not actions.index.isin(credit.index).any():
        raise ValueError(
            f"credit: no value for any of the {len(actions)} actions shown; its index must be that of the actions table"
        )
    return credit.reindex(actions.index).dropna().astype(float).to_dict()


def _line(row: pd.Series, reveal: bool) -> str:
    if not _is_mystery(row):
        outcome = f"; {_reached(row)}" if reveal else ""
    else:
        outcome = f"; {_winners(row)}; accused: {row['accused'] or 'nobody'}" if reveal else ""
    return f"Game {row['game']}: {row['script']} ({row['cell']}), {row['n_actions']} actions{outcome}"


def _reached(row: pd.Series) -> str:
    return f"{sum(row['success'])} of {len(row['success'])} reached their goal"


def _winners(row: pd.Series) -> str:
    return f"the {row['winner']}{'s' if row['winner'] == 'civilian' or len(row['culprits']) > 1 else ''} won"


def _header(row: pd.Series, scene: _Scene, reveal: bool) -> Html:
    chips = (row["cell"], row["language"], row["game"], f"seed {row['seed']}")
    if not _is_mystery(row):
        return join(titled(f"{row['world']}: {row['script']}", chips), *_ended(row, scene, reveal), _legend(scene))
    votes = Counter(v for v in row["votes"] if v)
    seats = [_seat(row, i, votes, scene, reveal) for i in range(len(scene.names))]
    heads = ["player", "faction", "played by", "votes for", "votes got", "goal"]
    table = seat_table(heads if reveal else [h for h in heads if h not in ("faction", "goal")], seats)
    return join(titled(row["script"], chips), _outcome(row, scene, reveal), table, _counts(row), _legend(scene))


def _ended(row: pd.Series, scene: _Scene, reveal: bool) -> Iterator[Html]:
    """Say how a game of another world ended: who got what, and what the world notes of it."""
    world = about_world(row["world"])
    heads = ["player", "role", "side", "played by", "got", "goal"]
    columns = [[scene.name(n) for n in scene.names], row["roles"], row["factions"], row["policies"],
               [f"{p:g}" for p in row["payoffs"]], ["reached" if s else "missed" for s in row["success"]]]  # fmt: skip
    shown = [k for k in range(len(heads)) if (reveal or k < 4) and any(map(str, columns[k]))]
    if world.success:
        yield tag("div", f"A goal is reached if {world.success}.", style=Css.SMALL)
    yield seat_table([heads[k] for k in shown], list(zip(*(columns[k] for k in shown), strict=True)))
    noted = [f"{name} {said}" for name, said in ended_as(row).items()] if reveal else []
    told = f"{row['n_actions']} actions in {counted(row['n_rounds'], 'round')} · {row['n_illegal']} illegal"
    yield tag("div", " · ".join([told, *noted]), style=Css.SMALL)


def _outcome(row: pd.Series, scene: _Scene, reveal: bool) -> Html:
    accused = scene.name(row["accused"]) if row["accused"] else "nobody (a tie, or no votes)"
    won = join(tag("b", _winners(row).capitalize()), ". ") if reveal else ""
    return tag("div", won, "Accused: ", accused, ".", style="font-size:15px;margin:8px 0 2px 0")


def _seat(row: pd.Series, i: int, votes: Counter[str], scene: _Scene, reveal: bool) -> list[object]:
    name, faction = scene.names[i], row["factions"][i]
    vote = scene.name(row["votes"][i]) if row["votes"][i] else tag("span", "nobody", style=Css.MUTED)
    public = [row["policies"][i], vote, votes[name] or ""]
    if not reveal:
        return [scene.name(name), *public]
    return [scene.name(name), badge(faction), *public, "reached" if row["success"][i] else "missed"]


def _counts(row: pd.Series) -> Html:
    illegal = f"{row['n_illegal']} illegal" + (f" ({counted(row['n_passes'], 'turn')} lost)" if row["n_passes"] else "")
    found = f"{row['clues_found']} of {counted(row['clues_reachable'], 'clue')} found"
    text = f"{row['n_actions']} actions in {counted(row['n_rounds'], 'round')} · {illegal} · {found}"
    return tag("div", text, style=Css.SMALL)


# --- its course --------------------------------------------------------------------------------------


def _rounds(actions: pd.DataFrame, scene: _Scene) -> Iterator[Html]:
    """Yield the game's parts: introductions, each round, the vote."""
    rows = list(actions.sort_values("step").itertuples())
    titles: list[str] = []
    for action in reversed(rows):  # a summary belongs to the part in which its writer goes on
        titles.append(titles[-1] if action.phase == "summary" and titles else _part_title(action))
    for title, part in groupby(zip(reversed(titles), rows, strict=True), key=lambda pair: pair[0]):
        yield game_part(title, *_blocks([action for _, action in part], scene))


def _part_title(action: Any) -> str:
    before = "Before the first round" if action.phase != "intro" else "Introductions"
    return "The vote" if action.phase == "vote" else f"Round {action.round}" if action.round else before


def _blocks(rows: Sequence[Any], scene: _Scene) -> Iterator[Html]:
    """Yield one line for each action; ratings given at the same time make one table."""
    after = {a.step: b for a, b in pairwise(rows)}
    for is_rating, block in groupby(rows, key=lambda a: a.kind == "rate" or a.phase == "rate"):
        block = list(block)
        yield from (_deed(a, after.get(a.step), scene) for a in block if not is_rating or not a.legal)
        if is_rating and (given := [a for a in block if a.legal]):
            yield _ratings(given, scene)


def _deed(action: Any, then: Any, scene: _Scene) -> Html:
    indent = "margin-left:28px" if action.phase == "answer" else ""
    body = tag("div", *_told(action, then, scene), style=f"{speaker_edge(action.agent, scene.names)};{indent}")
    return tag("div", _margin(action, scene), body, style="display:flex;margin:7px 0")


def _told(action: Any, then: Any, scene: _Scene) -> Iterator[Html]:
    """Yield who did what, and what came of it."""
    if action.kind == "illegal":
        yield from _refused(action, then, scene)
        return
    again = tag("span", "second try", style=Css.WARNING) if action.retry else ""
    guilty = (
        tag("span", "guilty", style=Css.CULPRIT) if action.kind == "vote" and action.target in scene.culprits else ""
    )
    verb = tag("span", f" {VERBS.get(action.kind, action.kind)} ", style=Css.MUTED)
    named = tag("b", action.place) if action.kind == "search" else scene.name(action.target) if action.target else ""
    yield tag("div", scene.name(action.agent), verb, named, " ", again, guilty, *_noted(action, scene))
    if action.kind == "search":
        yield _find(action, scene)
    elif action.kind != "vote":
        yield prose(_spoken(action, scene))


def _noted(action: Any, scene: _Scene) -> Iterator[Html]:
    """Say what another world notes of an action."""
    for name in scene.own:
        if said := said_value(getattr(action, name)):
            yield tag("span", f"{name} {said}", style=Css.GREY)


def _refused(action: Any, then: Any, scene: _Scene) -> Iterator[Html]:
    retried = then is not None and then.retry  # a second try stands right behind the first
    word = "illegal reply: asked again" if retried else "illegal reply: the turn is lost"
    verb = tag("span", f" ({action.phase}) ", style=Css.MUTED)
    yield tag("div", scene.name(action.agent), verb, tag("span", word, style=Css.WARNING))
    text = action.text if action.text.strip() else "(no text)"
    yield prose(text, limit=240, style=f"{Css.SMALL};font-family:monospace")


def _spoken(action: Any, scene: _Scene) -> str:
    """Return what the others heard; without the script, the reply as given."""
    if scene.spelling is None or not action.legal:
        return action.text
    move = parse(action.phase, action.text, scene.spelling, scene.names, (), action.agent)
    return move.text if isinstance(move, Move) else action.text


def _find(action: Any, scene: _Scene) -> Html:
    clue = scene.clues.get(action.clue)
    if clue is None:
        return tag("div", f"finds clue {action.clue}", style=Css.BOX)
    if not clue.private_to:
        return prose(clue.text, style=Css.BOX)
    public = tag("div", "finds something that means nothing to the others", style=Css.MUTED)
    return join(public, secret(join("only ", scene.name(action.agent), " knows what"), prose(clue.text)))


# --- ratings -----------------------------------------------------------------------------------------


def _ratings(rows: Sequence[Any], scene: _Scene) -> Html:
    n = len(scene.names)
    kinds = [tag("th", kind, colspan=n, style=Css.NUMBER) for kind in ("suspicion 0–2", "trust 0–2")]
    names = [tag("th", scene.name(x), style=f"{Css.NUMBER};{Css.NARROW}") for x in scene.names * 2]
    first = tag(
        "th", "who rates", style=f"{Css.CELL};width:22%"
    )  # the others share the rest: the table never overflows
    lines = [table_row(*_rating(a, scene)) for a in rows]
    title = join(LOCK, " private: what each player says it thinks of the others")
    table = tag(
        "table", table_row(first, *kinds), table_row(tag("th", "", style=Css.CELL), *names), *lines, style=Css.FIXED
    )
    return fold(title, table, is_open=True, style=Css.SECRET)


def _rating(action: Any, scene: _Scene) -> Iterator[Html]:
    yield tag("td", scene.name(action.agent), " ", _inline_credit(action, scene), style=Css.CELL)
    yield from (_heat(v, SUSPICION) for v in action.suspicion)
    yield from (_heat(v, TRUST) for v in action.trust)


def _heat(value: int, colour: tuple[int, int, int]) -> Html:
    if value < 0:
        return tag("td", "", style=f"{Css.NUMBER};background:rgba(128,128,128,0.2)")
    return tag("td", int(value), style=f"{Css.NUMBER};{wash(colour, value / 2)}")


def suspicion_table(by_round: pd.DataFrame, notes: Mapping[str, str]) -> Html:
    """A row for each player: how suspected after each round (rows of `by_round`), from white to full at 2."""
    names = tuple(by_round)
    head = table_row(*(tag("th", h, style=Css.CELL) for h in ("suspected by the others, 0 to 2", *by_round.index)))
    lines = []
    for name in names:
        who = tag("td", named(name, names), " ", tag("span", notes.get(name, ""), style=Css.SMALL), style=Css.CELL)
        cells = (tag("td", f"{x:.1f}", style=f"{Css.NUMBER};{wash(SUSPICION, x / 2)}") for x in by_round[name])
        lines.append(table_row(who, *cells))
    return tag("table", head, *lines, style=Css.TABLE)


# --- credit ------------------------------------------------------------------------------------------


def _margin(action: Any, scene: _Scene) -> Html:
    """Return the margin of a line: its action's credit, nothing when the view shows no credit."""
    if scene.credit is None:
        return Html()
    value = scene.credit.get(action.Index)
    edge = "" if value is None else Css.EDGE
    return tag("div", _signed(value), style=f"{Css.MARGIN};{edge};{_tint(value, scene.top)}")


def _inline_credit(action: Any, scene: _Scene) -> Html:
    value = (scene.credit or {}).get(action.Index)
    return (
        Html()
        if value is None
        else tag("span", _signed(value), style=f"{Css.CHIP};{Css.EDGE};{_tint(value, scene.top)}")
    )


def _legend(scene: _Scene) -> Html:
    if scene.credit is None:
        return Html()
    steps = [
        tag("span", _signed(s * scene.top), style=f"{Css.CHIP};{Css.EDGE};{_tint(s, 1)}") for s in (-1, -0.5, 0, 0.5, 1)
    ]
    words = [tag("span", w, style=Css.SMALL) for w in ("credit of an action: ", "blame to praise")]
    return tag("div", words[0], *steps, words[1], style="margin-top:6px")


def _signed(value: float | None) -> str:
    if value is None or math.isnan(value):
        return ""
    digits = f"{value:+.2f}" if abs(value) >= 0.005 else f"{value:+.1g}"
    return "0" if value == 0 else digits.replace("-", "−")


def _tint(value: float | None, top: float) -> str:
    """Return the background of a credit: blue for praise, orange for blame, nothing for none."""
    if value is None or math.isnan(value):
        return ""
    return wash(PRAISE if value > 0 else BLAME, abs(value) / top if top else 0.0)


# --- rules side by side ------------------------------------------------------------------------------


def side_by_side(
    actions: pd.DataFrame, columns: Mapping[str, pd.Series], *, script: Script | None = None,
    beside: Mapping[str, pd.Series] | None = None, title: str = "",
) -> Shown:  # fmt: skip
    """Show actions of one game as rows: `beside` in words, and in each further column what one rule gives to them."""
    if (n_games := actions["game"].nunique()) != 1:
        raise ValueError(f"side_by_side shows one game, but the actions given belong to {n_games}; choose one first")
    rows, beside = actions.sort_values("step"), beside or {}
    names = script.names if script else tuple(rows.drop_duplicates("seat").sort_values("seat")["agent"])
    scenes = {rule: _Scene(names, script, _credit(actions, w)) for rule, w in columns.items()}
    scene = _Scene(names, script)
    lines = [_compared(a, scenes, scene, [words.get(a.Index, "") for words in beside.values()])
             for a in rows.itertuples()]  # fmt: skip
    table = tag("table", _compared_head(beside, scenes), *lines, style=Css.FIXED)
    game = rows["game"].iloc[0]
    note = "Blue: praise, orange: blame, 0: no part in it, empty: the rule says nothing. Each column has its own scale."
    head = join(tag("div", title or f"Game {game}", style=Css.HEAD), tag("div", note, style=Css.SMALL))
    return Shown(f"Game {game}: {len(rows)} actions under {len(columns)} rules", card(head, table))


def _compared_head(beside: Iterable[str], rules: Iterable[str]) -> Html:
    widths = {"round": "width:44px", "player": "width:14%", "action": ""} | dict.fromkeys(beside, "")
    heads = [tag("th", h, style=f"{Css.CELL};{width}") for h, width in widths.items()]
    return table_row(*heads, *(tag("th", _breakable(r), style=f"{Css.NUMBER};{Css.NARROW};width:72px") for r in rules))


def _breakable(name: str) -> Html:
    """Let a long name break after its underscores."""
    first, *more = name.split("_")
    return join(first, *(join("_", Html("<wbr>"), part) for part in more))


def _compared(action: Any, scenes: Mapping[str, _Scene], scene: _Scene, beside: Sequence[str]) -> Html:
    told = _brief(action, scene, rating=action.text if beside else "")
    shown = (action.round, scene.name(action.agent), told, *map(_shortened, beside))
    weights = [(s.credit.get(action.Index), s.top) for s in scenes.values()]
    cells = [tag("td", _signed(value), style=f"{Css.NUMBER};{_tint(value, top)}") for value, top in weights]
    return table_row(*(tag("td", x, style=Css.CELL) for x in shown), *cells)


def _brief(action: Any, scene: _Scene, rating: str = "") -> Html:
    """Say in one short line what an action was."""
    whom = scene.name(action.target) if action.target else ""
    words = {"search": "", "vote": "", "rate": rating}.get(action.kind)
    if action.kind == "search":
        clue = scene.clues.get(action.clue)
        words = f"{action.place}: {clue.text}" if clue else action.place
    short = _shortened(_spoken(action, scene) if words is None else words)
    verb = tag("span", f"{VERBS.get(action.kind, action.kind)} ", style=Css.MUTED)
    style = "overflow:hidden;overflow-wrap:break-word"
    return tag("div", verb, whom, " " if whom else "", tag("bdi", short), style=style)


def _shortened(text: str) -> str:
    """Return text as one short line."""
    text = " ".join(text.split())
    return text if len(text) <= 90 else text[:89].rstrip() + "…"


# --- a view ------------------------------------------------------------------------------------------

_TURNS = {
    "system": ("what it is told first", (138, 99, 184)),
    "user": ("sees and is asked", (128, 128, 128)),
    "assistant": ("replies", (34, 137, 69)),
}


def show_view(messages: Sequence[Any], title: str = "A view") -> Shown:
    """Show one player's view (messages as of `private_view`, or as stored in `dialogues`)."""
    return Shown(f"{title}: {len(messages)} messages", card(_view(messages, title, is_open=True)))


def _view(messages: Sequence[Any], title: str, *, is_open: bool) -> Html:
    turns = [_turn(*(m["role"], m["content"]) if isinstance(m, Mapping) else m) for m in messages]
    return fold(
        tag("span", f"{LOCK} ", tag("bdi", title), style=Css.HEAD), *turns, is_open=is_open, style="margin:4px 0"
    )


def _turn(role: str, content: str) -> Html:
    label, colour = _TURNS[role]
    head = tag("span", role, tag("span", f" · {label}", style=Css.SMALL), style="font-size:12px;font-weight:600")
    edge = f"border-left:3px solid rgb({','.join(map(str, colour))})"
    style = f"{wash(colour, 0.2)};{edge};padding:4px 10px;margin:6px 0"
    return fold(head, prose(content, limit=2000), is_open=True, style=style)


def _views(dialogues: pd.DataFrame) -> Html:
    views = [_view(d.messages, d.agent if not d.view else f"{d.agent}, view {d.view}", is_open=False)
             for d in dialogues.sort_values(["view"], kind="stable").itertuples()]  # fmt: skip
    return game_part("What each of them saw", *views)
