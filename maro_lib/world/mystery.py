"""The murder mystery: who may do what, who sees what, and who has won.

Taught in notebook 01. Unlike MIRAGE's code: nobody is prompted with another's secrets, every retry is bounded,
only places that still hold something are offered, and everything random comes from the game's own seed.
"""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from maro_lib.strict_yaml import StrictLoader
from maro_lib.world.detectives import STYLES
from maro_lib.world.forms import reply_forms
from maro_lib.world.generator import Knobs, generate
from maro_lib.world.phrases import Phrasebook, phrasebook
from maro_lib.world.protocol import Action, Form, Prompt
from maro_lib.world.replies import MAX_REPLY, Illegal, Move, name_spelling, normalise, parse, spelling
from maro_lib.world.scripts import FACTIONS, Character, Clue, Fact, Goal, Script, ScriptError, SpecialRule
from maro_lib.world.turns import SeatState, State, TurnGame


class Event(NamedTuple):
    """Something that a player saw happen, as data."""

    kind: str  # intro, ask, answer, search, memory
    who: str
    text: str = ""
    target: str = ""
    place: str = ""
    clue: Clue | None = None


class Brief(NamedTuple):
    """What a player knows from the start, as data: public facts of the case, and its own character."""

    names: tuple[str, ...]
    n_culprits: int
    rules: tuple[SpecialRule, ...]
    given: tuple[Fact, ...]
    unique: tuple[str, ...]
    me: Character
    partners: tuple[str, ...]
    book: Phrasebook
    world: str = "mystery"


@dataclass(frozen=True)
class Rules:
    """The numbers of a game."""

    rounds: int = 3
    corrections: int = 1
    max_chars: int = 1200
    ratings: Literal["round", "turn", "never"] = "round"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.corrections < 0 or not 20 <= self.max_chars <= MAX_REPLY:
            raise ValueError(f"{self}: rounds >= 1, corrections >= 0 and max_chars from 20 to {MAX_REPLY} are needed")
        if self.ratings not in ("round", "turn", "never"):
            raise ValueError(f"ratings: {self.ratings!r}; one of 'round', 'turn', 'never' is needed")

    def n_rounds(self, script: Script) -> int:
        """Every stage has at least one round."""
        return max(self.rounds, len(script.stages))


@dataclass
class _State(State):
    """All that changes in a game; nothing in it is shared with a copy."""

    clues: tuple[Clue, ...] = ()  # in the order in which places give them
    found: dict[str, str] = field(default_factory=dict)  # clue id -> finder
    votes: dict[int, str] = field(default_factory=dict)
    stage: int = 1


class MurderMystery(TurnGame):
    """One murder mystery: introductions, rounds of asking or searching, ratings, a vote."""

    name = "mystery"
    question = "Who lies?"
    success = "the own side won: the culprit was caught, or was not"
    sides = FACTIONS
    columns = yaml.load(Path(__file__).with_name("columns.yaml").read_text(encoding="utf-8"), StrictLoader)
    cooperative = ""  # in no move, by itself
    knobs = Knobs
    styles = STYLES
    state = _State

    def __init__(self, script: Script, rules: Rules | None = None):
        if not script.culprits:
            raise ScriptError(
                f"{script.title}: the culprit ({', '.join(script.truth.culprits)}) is not among the players, "
                "so it can be read but not played; add the culprit as a character"
            )
        super().__init__(script, rules or Rules())
        self.book = phrasebook(script.language, script.register_)
        self.n_rounds = self.rules.n_rounds(script)
        self._spelling = name_spelling(script)
        self._memories = [c for c in script.clues if c.trigger]
        self._culprits = frozenset(c.name for c in script.characters if c.faction == "culprit")

    @classmethod
    def generate(cls, seed: int, knobs: Knobs | None = None, register: str = "compact") -> Script:
        """Make the mystery of one seed."""
        return generate(seed, replace(knobs or Knobs(), register=register))

    @classmethod
    def payoff_range(cls, _script: Script) -> tuple[float, float]:
        return -1.0, 1.0

    # --- what players are given ----------------------------------------------------------------------

    @property
    def refusals(self) -> Phrasebook:
        return self.book

    def beginning(self, player: int) -> str:
        return system_message(self.script, player, self.rules)

    def forms(self, player: int) -> tuple[Form, ...]:
        """What a pending player may reply, to be picked and filled in."""
        return reply_forms(self.prompt(player), self.book)

    def brief(self, player: int) -> Brief:
        """What a player knew from the start, as data."""
        s, me = self.script, self.script.characters[player]
        return Brief(s.names, s.n_culprits, s.rules, s.given, s.unique, me, _partners(s, me), self.book)

    # --- how it went ---------------------------------------------------------------------------------

    @property
    def found(self) -> dict[str, str]:
        """Clues found so far, by id, with their finder."""
        return self.now.found

    @property
    def votes(self) -> list[str]:
        return [self.now.votes.get(i, "") for i in range(len(self.names))]

    @property
    def n_reachable(self) -> int:
        """The most clues that one game by these rules can bring to light: one search a turn, and every memory."""
        left = [c for c in self.script.clues if not c.trigger]
        left.sort(key=lambda c: not c.private_to)  # first what only its owner can take: the rest can wait for anybody
        stage, n = 1, len(self._memories)
        for what, *which in self._plan([list(range(len(self.names)))] * self.n_rounds):
            if what == "stage":
                stage = which[0]
            elif what == "turn":
                owners = ("", self.names[which[0]])
                taken = next((k for k, c in enumerate(left) if c.stage <= stage and c.private_to in owners), None)
                if taken is not None:
                    del left[taken]
                    n += 1
        return n

    def own_record(self) -> dict[str, Any]:
        return {
            "winner": self.winner(), "culprits": list(self.script.culprits), "votes": self.votes,
            "accused": self.accused(), "ending": self.ending(), "clues_found": len(self.found),
            "clues_reachable": self.n_reachable,
        }  # fmt: skip

    def own_columns(self, action: Action) -> dict[str, Any]:
        suspicion, trust = self._by_seat(action.own.get("ratings"))
        others = [i for i, name in enumerate(self.names) if name in self._culprits and i != action.player]
        belief = [suspicion[i] for i in others] if suspicion else []
        return {
            "place": action.own.get("place", ""), "clue": action.own.get("clue", ""), "suspicion": suspicion,
            "trust": trust, "belief": sum(belief) / len(belief) if belief else None,
        }  # fmt: skip

    def _by_seat(self, ratings: Mapping[str, tuple[int, int]] | None) -> tuple[list | None, list | None]:
        """Suspicion and trust of each seat, -1 for who was not rated; nothing if no ratings were given."""
        if ratings is None:
            return None, None
        pairs = [ratings.get(n, (-1, -1)) for n in self.names]
        return [s for s, _ in pairs], [b for _, b in pairs]

    def accused(self) -> str:
        """Who has more votes than anybody else; empty after a tie or without votes."""
        top = Counter(v for v in self.votes if v).most_common(2)
        return top[0][0] if top and (len(top) == 1 or top[0][1] > top[1][1]) else ""

    def winner(self) -> str:
        return "civilian" if self.accused() in self.script.culprits else "culprit"

    def successes(self) -> list[int]:
        """1 for each player that reached its goal: its own goals if it has any, else its faction's."""
        won = self.winner()
        return [
            int(all(self._is_met(g, c, won) for g in c.goals) if c.goals else c.faction == won)
            for c in self.script.characters
        ]

    def payoffs(self) -> list[float]:
        return [2.0 * s - 1 for s in self.successes()]

    def ending(self) -> str:
        """The text of the first ending whose condition holds; the truth when the script declares none."""
        accused, caught = self.accused(), self.winner() == "civilian"
        holds = {"caught": caught, "escaped": not caught, "tie": not accused, "always": True}
        for e in self.script.endings:
            if holds.get(e.when, e.who == accused):
                return e.text
        return self.script.truth.text

    # --- the course of the game ----------------------------------------------------------------------

    def opened(self, rng: random.Random, seats: list[SeatState]) -> _State:
        clues = tuple(rng.sample(self.script.clues, len(self.script.clues)))
        state = super().opened(rng, seats)
        state.clues = clues
        return state

    def plan(self, rng: random.Random) -> list[tuple]:
        n = len(self.names)
        return self._plan([rng.sample(range(n), n) for _ in range(self.n_rounds)])

    def _plan(self, orders: list[list[int]]) -> list[tuple]:
        """List what happens in the whole game, in order."""
        everyone, n_stages = range(len(self.names)), len(self.script.stages)
        plan: list[tuple] = [("intro", i) for i in everyone]
        if self.script.stages[0].narration:
            plan.insert(0, ("stage", 1))
        for r, order in enumerate(orders, start=1):
            stage = 1 + (r - 1) * n_stages // self.n_rounds
            if r > 1 and stage > 1 + (r - 2) * n_stages // self.n_rounds:
                plan.append(("stage", stage))
            plan.append(("round", r))
            for i in order:
                plan.append(("turn", i))
                plan += [("rate",)] * (self.rules.ratings == "turn")
            plan += [("rate",)] * (self.rules.ratings == "round")
        return [*plan, ("vote",)]

    def begin(self, entry: tuple) -> None:
        match entry:
            case "stage", k:
                self._begin_stage(k)
            case "round", r:
                self._begin_round(r)
            case "intro", player:
                self._put(player, Prompt("intro"), self.book.intro)
            case "turn", player:
                self._begin_turn(player)
            case "answer", player, asker, question:
                self._begin_answer(player, asker, question)
            case ("rate",):
                self._ask_all("rate", self.book.rate)
            case ("vote",):
                self._ask_all("vote", self.book.vote)

    def _begin_stage(self, k: int) -> None:
        stage, n = self.script.stages[k - 1], len(self.script.stages)
        self.now.stage = k
        text = " ".join(t for t in (stage.name, stage.narration) if t)
        for i, seat in enumerate(self.now.seats):
            seat.lines.append(self.book.stage.format(k=k, n=n, text=text).rstrip())
            if k > 1 and (own := _sections(self.script.characters[i], k, self.book)):
                seat.lines += [line for line in (self.book.now, own) if line]

    def _begin_round(self, r: int) -> None:
        self.now.round = r
        for seat in self.now.seats:
            seat.lines.append(self.book.round.format(k=r, n=self.n_rounds))

    def _begin_turn(self, player: int) -> None:
        prompt = Prompt("turn", self.others(player), self._open_places(player))
        places = self.book.places if prompt.places else self.book.no_places
        self._put(player, prompt, "\n".join((self.book.turn, places)))

    def _begin_answer(self, player: int, asker: int, question: str) -> None:
        prompt = Prompt("answer", asker=self.names[asker])
        self._put(player, prompt, self.book.answer, asker=self.names[asker], question=question)

    def _ask_all(self, phase: str, template: str) -> None:
        for i in range(len(self.names)):
            self._put(i, Prompt(phase, self.others(i)), template)

    def _put(self, player: int, prompt: Prompt, template: str, **more: str) -> None:
        names, places = self.book.comma.join(prompt.names), self.book.comma.join(prompt.places)
        self.ask(player, prompt, template.format(names=names, places=places, **more))

    # --- replies -------------------------------------------------------------------------------------

    def read(self, player: int, prompt: Prompt, text: str) -> Move | Illegal:
        return parse(prompt.phase, text, self._spelling, prompt.names, prompt.places, self.names[player])

    def correction(self, prompt: Prompt, why: Illegal) -> str:
        names, places = self.book.comma.join(prompt.names), self.book.comma.join(prompt.places)
        reason = self.book.reasons[why.reason].format(names=names, places=places or "-")
        return self.book.correction.format(reason=reason, form=self.book.forms[prompt.phase].format(names=names))

    def miss(self, player: int, prompt: Prompt) -> None:
        if prompt.phase in ("intro", "answer", "turn"):
            line = (self.book.passes if prompt.phase == "turn" else self.book.silent).format(name=self.names[player])
            self.show(line, Event("pass", self.names[player]), but=player)

    def take(self, player: int, prompt: Prompt, text: str, move: Move) -> Action:
        state, spoken = self.now, self.spoken(move.text)
        clue = self._search(player, move.place) if move.kind == "search" else ""
        if move.kind == "summary":
            self.resume(player, spoken)
        if move.kind == "vote":
            state.votes[player] = move.target
        if move.kind in ("intro", "ask", "answer"):
            self._say(player, move, spoken, prompt)
        return Action(
            player, state.round, prompt.phase, move.kind, text, move.target,
            public=move.kind not in ("rate", "vote", "summary"),
            own={"place": move.place, "clue": clue, "ratings": move.ratings},
        )  # fmt: skip

    def _say(self, player: int, move: Move, spoken: str, prompt: Prompt) -> None:
        me = self.names[player]
        if move.kind == "ask":
            target = self.names.index(move.target)
            line = self.book.asks.format(name=me, target=move.target, text=spoken)
            self.show(line, Event("ask", me, spoken, move.target), but=player, unseen_by=target)
            self.now.agenda.append(("answer", target, player, spoken))
        else:
            says = self.book.says if move.kind == "intro" else self.book.answers
            self.show(says.format(name=me, text=spoken), Event(move.kind, me, spoken, prompt.asker), but=player)
        self._remember(spoken)

    def _search(self, player: int, place: str) -> str:
        """Give the searcher a place's next clue, and tell the others what they may know of it."""
        clue = next(c for c in self.now.clues if c.place == place and self._is_open(c, player))
        me, book = self.names[player], self.book
        self.now.found[clue.id] = me
        mine, theirs = (book.private, book.kept) if clue.private_to else (book.found_own, book.found)
        text, event = " ".join(clue.text.split()), Event("search", me, place=place, clue=clue)
        seen = event._replace(clue=None) if clue.private_to else event
        self.show(theirs.format(name=me, place=place, text=text), seen, but=player)
        self.tell(player, mine.format(place=place, text=text), event)
        return clue.id

    def _remember(self, spoken: str) -> None:
        """Release the memories whose trigger word was just spoken, each to its owner alone."""
        for clue in self._memories:
            if clue.id not in self.now.found and clue.stage <= self.now.stage and _mentions(spoken, clue.trigger):
                self.now.found[clue.id] = clue.private_to
                owner = self.names.index(clue.private_to)
                line = self.book.memory.format(text=" ".join(clue.text.split()))
                self.tell(owner, line, Event("memory", clue.private_to, clue=clue))

    def _is_open(self, clue: Clue, player: int) -> bool:
        return (
            clue.id not in self.now.found
            and clue.stage <= self.now.stage
            and not clue.trigger
            and clue.private_to in ("", self.names[player])
        )

    def _open_places(self, player: int) -> tuple[str, ...]:
        held = {c.place for c in self.now.clues if self._is_open(c, player)}
        return tuple(p for p in self.script.places if p in held)

    def _is_met(self, goal: Goal, me: Character, winner: str) -> bool:
        checks: dict[str, Callable[[], bool]] = {
            "faction_wins": lambda: me.faction == winner,
            "not_accused": lambda: self.accused() != me.name,
            "accused": lambda: self.accused() == goal.of,
            "clue_found": lambda: goal.of in self.found,
            "clue_hidden": lambda: goal.of not in self.found,
        }
        return checks[goal.check]()


def system_message(script: Script, player: int, rules: Rules) -> str:
    """Write what one player reads before the game; nothing in it belongs to another's sections."""
    book, me = phrasebook(script.language, script.register_), script.characters[player]
    others = book.comma.join(n for n in script.names if n != me.name)
    partners = book.comma.join(_partners(script, me))
    parts = [
        book.you_are.format(name=me.name, others=others),
        book.frame.format(rounds=rules.n_rounds(script), rated=book.rated[rules.ratings], n=script.n_culprits),
        book.background.format(text=script.background),
        book.special.format(text="\n".join(r.text for r in script.rules)) if script.rules else "",
        book.yours,
        _sections(me, 1, book),
        "\n".join(book.goal.format(text=g.text) for g in me.goals),
        book.side[me.faction],
        book.partners.format(names=partners) if partners else "",
    ]
    gap = "\n" if script.register_ == "compact" else "\n\n"
    return gap.join(p for p in parts if p)


def _sections(character: Character, stage: int, book: Phrasebook) -> str:
    """One stage's private sections, with their headings where the phrasebook has any."""
    sections = character.sections[stage - 1]
    parts = [(book.sections[key], getattr(sections, key)) for key in book.sections]
    return "\n".join(f"{title}: {text}" if title else text for title, text in parts if text)


def _partners(script: Script, me: Character) -> tuple[str, ...]:
    """Culprits know each other; a civilian knows nobody's side."""
    return tuple(n for n in script.culprits if n != me.name) if me.faction == "culprit" else ()


def _mentions(text: str, word: str) -> bool:
    """Whether a word is spoken; "ring" is not in "during"."""
    return bool(spelling(((word, word),)).find(normalise(unicodedata.normalize("NFC", text))))
