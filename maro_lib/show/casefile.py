"""A mystery's script to read, as a case file: who is who, where is what, and, if it is to be known, the truth.

Taught in notebook 01.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maro_lib.markup import Html, Shown, card, join, prose, tag
from maro_lib.show.looks import Css, badge, game_part, named, secret, speaker_edge, titled
from maro_lib.world.phrases import phrasebook
from maro_lib.world.scripts import Character, Clue, Script


def show_script(script: Script, reveal: bool = False) -> Shown:
    """Show a mystery as a case file; factions, clues and the truth only with `reveal`."""
    parts = [titled(script.title, (script.cell, script.language, script.register_))]
    parts += [prose(script.background, limit=1500, style="margin:8px 0"), *_world(script)]
    parts.append(game_part("Characters", *(_character(c, script, reveal) for c in script.characters)))
    parts.append(game_part("Places", *(_place(p, script, reveal) for p in script.places)))
    if reveal:
        parts += _solution(script)
    size = f"{len(script.names)} characters, {len(script.clues)} clues"
    line = f"{script.title} ({script.cell}, {script.language}): {size}"
    return Shown(line, card(*parts, language=script.language))


def _world(script: Script) -> Iterator[Html]:
    if script.rules:
        yield game_part("Special rules of this world", *(prose(r.text, style=Css.BOX) for r in script.rules))
    told = [(k, s) for k, s in enumerate(script.stages, start=1) if s.name or s.narration]
    if told:
        yield game_part(
            "Stages", *(tag("div", tag("b", f"{k} {s.name}"), prose(s.narration), style=Css.BOX) for k, s in told)
        )


def _character(me: Character, script: Script, reveal: bool) -> Html:
    headings = phrasebook(script.language, "prose").sections
    secrets = [_section(t, k, headings, script) for k, t in enumerate(me.sections, start=1)]
    goals = [prose(f"Goal: {g.text}") for g in me.goals]
    known = join(" ", badge(me.faction), tag("span", me.role, style=Css.SMALL)) if reveal else ""
    head = tag("div", named(me.name, script.names), known)
    private = secret(join("only ", named(me.name, script.names), " reads this"), *secrets, *goals)
    return tag("div", head, private, style=f"margin:8px 0;{speaker_edge(me.name, script.names)}")


def _section(told: Any, stage: int, headings: Mapping[str, str], script: Script) -> Html:
    title = tag("div", f"Stage {stage}", style=f"{Css.SMALL};margin-top:4px") if len(script.stages) > 1 else ""
    texts = [(headings[key], getattr(told, key)) for key in headings]
    return join(title, *(_headed(heading, text) for heading, text in texts if text))


def _headed(heading: str, text: str) -> Html:
    return join(tag("div", tag("b", heading), style="margin-top:4px"), prose(text, limit=1500))


def _place(place: str, script: Script, reveal: bool) -> Html:
    here = [c for c in script.clues if c.place == place and not c.trigger]
    if not reveal:
        return tag("span", place, style=Css.GREY)
    return tag("div", tag("b", place), *(_clue(c, script) for c in here), style="margin:6px 0")


def _clue(clue: Clue, script: Script) -> Html:
    facts = tag("div", "; ".join(f"{f.who} · {f.trait} · {f.value}" for f in clue.facts), style=Css.SMALL)
    if not clue.private_to:
        return tag("div", prose(clue.text), facts, style=Css.BOX)
    when = f', when somebody says "{clue.trigger}"' if clue.trigger else ""
    return secret(join("only ", named(clue.private_to, script.names), when), prose(clue.text), facts)


def _solution(script: Script) -> Iterator[Html]:
    if memories := [c for c in script.clues if c.trigger]:
        yield game_part("Memories", *(_clue(c, script) for c in memories))
    if script.endings:
        when = [(f"{e.when} {e.who}".strip(), e.text) for e in script.endings]
        yield game_part("Endings", *(tag("div", tag("b", w), prose(text), style=Css.BOX) for w, text in when))
    names = join(*(join(named(n, script.names), " ") for n in script.truth.culprits))
    yield game_part("The truth", tag("div", names), prose(script.truth.text, limit=1500, style=Css.BOX))
