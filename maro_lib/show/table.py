"""Laying the table: from a case, people and their opponents to a game that can be sat down to.

Notebook (`seat`) and terminal (`terminal`) show the same game. Taught in notebook 13.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from maro_lib.embedded.other_worlds import TAUGHT
from maro_lib.model.adapter_files import base_of
from maro_lib.model.loading import EMBEDDED, STUDY_ADAPTER
from maro_lib.model.players import SCRIPTED, Player
from maro_lib.model.shipped import SHIPPED
from maro_lib.play.policies import Policy, Styled
from maro_lib.play.rollout import Game, factions_of, roles_of
from maro_lib.play.sitting import Person, Sitting, SittingError, find_seat, sit_down
from maro_lib.runs import artefact, located
from maro_lib.wording import nearest
from maro_lib.world.casebook import find_playable
from maro_lib.world.generator import Knobs, generate
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario
from maro_lib.worlds.registry import find_world, is_world, scenarios
from maro_lib.worlds.world import WorldRules

Opponents = str | Player | Policy | Mapping[str, "str | Player | Policy"]
PEOPLE = "people"  # of a run: the folder of its games with people


@dataclass(frozen=True)
class Table:
    """What is played, and who plays: people by seat (a name, a faction: the first of it), and the others."""

    seats: Mapping[str, str]  # seat -> the name of a person
    against: Opponents = ""  # one for all, or by faction or name; empty: what the case is made for
    case: str = ""  # a bundled case, a file, a world's name; empty: generated mysteries
    knobs: Knobs = field(default_factory=Knobs)
    rules: Rules = field(default_factory=Rules)
    seed: int = 0
    run: str = PEOPLE
    world_knobs: Mapping[str, Any] = field(default_factory=dict)  # of another world than the mystery
    register: str = "prose"  # that such a world is told in
    allow_code: bool = False  # of a world in a file

    @contextlib.contextmanager
    def laid(self, number: int | None = None) -> Iterator[Sitting]:
        """Sit down to a game, for the time of a `with`: by its number, else the first that is not over."""
        with contextlib.ExitStack() as at_the_table:
            others = _all_seated(self.opponents(), at_the_table)
            games = self._games(others)
            yield (
                sit_down(games, self.folder)
                if number is None
                else Sitting(*next(islice(games, number, None)), self.folder)
            )

    @property
    def folder(self) -> Path:
        return artefact(self.run, PEOPLE)

    def opponents(self) -> dict[str, str | Player | Policy]:
        """Who plays the other seats, by faction or name."""
        script = self._script(0)
        is_own = script.world == "mystery" and script.register_ == "compact"  # what the embedded model was made for
        against = self.against or (STUDY_ADAPTER if is_own else "skilled")
        groups = factions_of(script) or roles_of(script)
        by_side = dict(against) if isinstance(against, Mapping) else dict.fromkeys(groups, against)
        for who in by_side.values():
            _check_register(who, script)
        seated = {side: _by_rule(who, script) for side, who in by_side.items()}
        for who in seated.values():
            _check_known(who, script)
        return seated

    def _games(self, others: Mapping[str, Policy]) -> Iterator[tuple[Game, dict[str, Policy]]]:
        for number in count():
            script = self._script(number)
            rules = self.rules if script.world == "mystery" else WorldRules()
            yield Game("table", 0, script, self.seed + number, rules), {**others, **self._people(script)}

    def _script(self, number: int) -> Script | Scenario:
        """The mystery (or another world's scenario) of a game; given ones come in turn."""
        if is_world(self.case):
            how = {"register": self.register, "allow_code": self.allow_code}
            return scenarios(self.case, 1, self.seed + number, self.world_knobs, **how)[0]
        if not self.case:
            return generate(self.seed + number, self.knobs)
        given = find_playable(self.case)
        return given[number % len(given)]

    def _people(self, script: Script) -> dict[str, Person]:
        """The people by the name of the character that they play."""
        people: dict[str, Person] = {}
        for seat, called in self.seats.items():
            name = script.names[find_seat(script, seat)]
            if name in people:
                raise SittingError(f"seats: {people[name].called} and {called} would both sit in the seat of {name}")
            people[name] = Person(called)
        if len({p.name for p in people.values()}) < len(people):
            raise SittingError("seats: two people have the same name; each needs a name of their own")
        return people


def parse_seats(words: Sequence[str] | None, name: str) -> dict[str, str]:
    """Read SEAT or SEAT=NAME, as the command line has them."""
    seats: dict[str, str] = {}
    for word in words or [""]:
        seat, _, called = word.partition("=")
        if seat in seats:
            raise SittingError(f"--seat {word}: {seats[seat]} sits there already; name another character")
        seats[seat] = called or name
    return seats


def on_server(model: str, url: str) -> Player:
    """A model that plays on a server, as the command line has it."""
    if not model:
        raise SittingError("--server: give the model's name there, too: --against NAME")
    return Player(model=model, server_url=url)


def _all_seated(
    opponents: Mapping[str, str | Player | Policy], at_the_table: contextlib.ExitStack
) -> dict[str, Policy]:
    """Make every opponent ready, once for all of its seats."""
    seated: dict[int, Policy] = {}
    for who in opponents.values():
        if id(who) not in seated:
            try:
                seated[id(who)] = at_the_table.enter_context(_seated(who))
            except RuntimeError as error:  # a model or a server that is not there says so itself
                raise SittingError(f"against: {error}") from None
    return {side: seated[id(who)] for side, who in opponents.items()}


def _by_rule(who: str | Player | Policy, script: Script | Scenario) -> str | Player | Policy:
    """A player by one of the world's own rules, where a word is the name of one."""
    return Styled(who) if isinstance(who, str) and who in _styles(script) else who


def _styles(script: Script | Scenario) -> tuple[str, ...]:
    return () if script.world == "mystery" else (*find_world(script.world).styles,)


def _check_known(who: str | Player | Policy, script: Script | Scenario) -> None:
    """Refuse a word that is no player's: a hub's name has a slash, and anything else of that kind is a folder."""
    known = dict.fromkeys((*_styles(script), *SCRIPTED, "mixture", *SHIPPED, "smollm2"))
    if not isinstance(who, str) or who in known or "/" in who or who.endswith(".gguf"):
        return
    if not located(who).exists():
        raise SittingError(f"against: {who!r} is nobody's name{nearest(who, known)}; give one of {', '.join(known)}, "
                           "the folder of a model or of an adapter, or a hub's name")  # fmt: skip


def _seated(who: str | Player | Policy) -> contextlib.AbstractContextManager[Policy]:
    if isinstance(who, str):
        who = Player(model=who)
    return who.seated() if isinstance(who, Player) else contextlib.nullcontext(who)


def _check_register(who: str | Player | Policy, script: Script) -> None:
    """Refuse models that come along where they can't read: prose, and all but mysteries for one that knows no other."""
    named = who.model if isinstance(who, Player) else who
    if named == "worlds" and (script.register_ != "compact" or script.world not in TAUGHT):
        what = "is told in prose" if script.world in TAUGHT else "is of a world of which it has read nothing"
        raise SittingError(f"{script.title}: the model `worlds` can't read it: it {what}; play {', '.join(TAUGHT)} in "
                           "the compact register, or against skilled, smollm2 or another language model")  # fmt: skip
    if not isinstance(named, str) or (script.register_ == "compact" and script.world == "mystery"):
        return
    if base_of(named) in ("embedded", str(EMBEDDED)):
        what = "another world" if script.world != "mystery" else "told in prose"
        raise SittingError(f"{script.title}: is {what}, which the embedded model can't read; play a generated mystery "
                           "(name no case), or against skilled, smollm2 or another language model")  # fmt: skip
