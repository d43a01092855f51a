"""The murder mystery: who may do what, who sees what, and who has won.

Taught in notebook 01. Unlike MIRAGE's code: nobody is prompted with another's secrets, every retry is bounded,
only places that still hold something are offered, and everything random comes from the game's own seed.
"""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from maro_lib.world.forms import reply_forms
from maro_lib.world.phrases import Phrasebook, phrasebook
from maro_lib.world.protocol import Action, Form, GameRecord, Message, Prompt
from maro_lib.world.replies import MAX_REPLY, Illegal, Move, clean, name_spelling, normalise, parse, spelling
from maro_lib.world.scripts import Character, Clue, Fact, Goal, Script, ScriptError, SpecialRule


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
class _Seat:
    messages: list[Message]
    lines: list[str] = field(default_factory=list)  # seen since the last prompt
    events: list[Event] = field(default_factory=list)
    ended: list[list[Message]] = field(default_factory=list)  # views that a summary continues
    held: tuple[Prompt, Message] | None = None  # what is asked again after a summary

    def __copy__(self) -> _Seat:
        return _Seat(self.messages.copy(), self.lines.copy(), self.events.copy(), self.ended.copy(), self.held)


@dataclass
class _State:
    """All that changes in a game; nothing in it is shared with a copy."""

    seats: list[_Seat]
    clues: tuple[Clue, ...]  # in the order in which places give them
    agenda: list[tuple]  # what comes next, last first
    n_steps: int  # that the agenda held at the beginning
    pending: dict[int, Prompt] = field(default_factory=dict)
    tries: dict[int, int] = field(default_factory=dict)
    block: list[Action] = field(default_factory=list)  # replies of the phase that is under way
    log: list[Action] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)  # clue id -> finder
    votes: dict[int, str] = field(default_factory=dict)
    round: int = 0
    stage: int = 1
    n_cut: int = 0
    n_passes: int = 0

    def __copy__(self) -> _State:
        values = {f.name: copy(getattr(self, f.name)) for f in fields(self)}
        return _State(**values | {"seats": [copy(s) for s in self.seats]})


class MurderMystery:
    """One murder mystery: introductions, rounds of asking or searching, ratings, a vote."""

    def __init__(self, script: Script, rules: Rules | None = None):
        if not script.culprits:
            raise ScriptError(
                f"{script.title}: the culprit ({', '.join(script.truth.culprits)}) is not among the players, "
                "so it can be read but not played; add the culprit as a character"
            )
        self.script, self.rules = script, rules or Rules()
        self.book = phrasebook(script.language, script.register_)
        self.names = script.names
        self.n_rounds = self.rules.n_rounds(script)
        self._spelling = name_spelling(script)
        self._memories = [c for c in script.clues if c.trigger]
        self._state: _State | None = None

    # --- the protocol --------------------------------------------------------------------------------

    def reset(self, num_players: int, seed: int) -> None:
        """Start a new game; the seed decides turn order and which clue a place gives first."""
        if num_players != len(self.names):
            raise ValueError(f"{self.script.title}: {len(self.names)} players are needed, not {num_players}")
        rng = random.Random(f"{seed}/{self.script.digest}")
        clues = tuple(rng.sample(self.script.clues, len(self.script.clues)))
        orders = [rng.sample(range(num_players), num_players) for _ in range(self.n_rounds)]
        seats = [_Seat([Message("system", system_message(self.script, i, self.rules))]) for i in range(num_players)]
        plan = self._plan(orders)
        self._state = _State(seats, clues, plan[::-1], len(plan))
        self._advance()

    def pending_players(self) -> tuple[int, ...]:
        """The players whose reply is awaited now; none when the game is over."""
        return tuple(self._now.pending)

    def get_observation(self, player: int | None = None) -> tuple[int, list[Message]]:
        """Return a pending player (the first unless named) and its view."""
        player = self._pending(player)
        return player, self.private_view(player)

    def step(self, text: str, player: int | None = None) -> tuple[bool, dict[str, Any]]:
        """Take a player's reply; return whether the game is over and what became of the reply."""
        player, state = self._pending(player), self._now
        prompt = state.pending[player]
        text = text.encode("utf-8", "replace").decode("utf-8")
        state.seats[player].messages.append(Message("assistant", text))
        outcome = parse(prompt.phase, text, self._spelling, prompt.names, prompt.places, self.names[player])
        if isinstance(outcome, Illegal):
            self._refuse(player, prompt, text, outcome)
        else:
            self._accept(player, prompt, text, outcome)
        if not state.pending:
            self._settle()
            self._advance()
        return not state.pending, {"legal": isinstance(outcome, Move), "phase": prompt.phase}

    def close(self) -> tuple[dict[int, int], dict[int, dict[str, Any]]]:
        """Return, once the game is over, each player's reward (+1 or -1) and what may now be known of it."""
        if self._now.pending:
            raise RuntimeError("the game is not over: somebody's reply is still awaited")
        success = self.successes()
        info = {
            i: {"name": c.name, "role": c.role or c.faction, "faction": c.faction, "success": success[i]}
            for i, c in enumerate(self.script.characters)
        }
        return {i: 2 * s - 1 for i, s in enumerate(success)}, info

    def prompt(self, player: int) -> Prompt:
        """What is asked of a pending player, as data."""
        return self._now.pending[self._pending(player)]

    def forms(self, player: int) -> tuple[Form, ...]:
        """What a pending player may reply, to be picked and filled in."""
        return reply_forms(self.prompt(player), self.book)

    def events(self, player: int) -> Sequence[Event]:
        """What a player saw happen, as data."""
        return self._now.seats[player].events

    def brief(self, player: int) -> Brief:
        """What a player knew from the start, as data."""
        s, me = self.script, self.script.characters[player]
        return Brief(s.names, s.n_culprits, s.rules, s.given, s.unique, me, _partners(s, me), self.book)

    def private_view(self, player: int) -> list[Message]:
        """A player's view so far: all that it ever knew, or its own summary of that and what came after."""
        return self._now.seats[player].messages.copy()

    def views(self, player: int) -> list[list[Message]]:
        """Every view that a player had: those that a summary continues, and the one of now."""
        seat = self._now.seats[player]
        return [*seat.ended, seat.messages.copy()]

    def summarise(self, player: int) -> None:
        """Ask a pending player, before it replies, to sum up what it knows; a new view starts from its summary."""
        seat, prompt = self._now.seats[player], self._now.pending[self._pending(player)]
        if len(seat.messages) < 3 or seat.held:
            raise ValueError(f"{self.names[player]}: there is nothing to sum up yet")
        seat.held = prompt, seat.messages.pop()
        seat.messages.append(Message("user", self.book.summarise))
        self._now.pending[player] = Prompt("summary")

    def snapshot(self) -> _State:
        """Return the game as it stands; playing on does not change it."""
        return copy(self._now)

    def restore(self, snapshot: _State) -> None:
        """Go back to a snapshot of this game (which can be restored again)."""
        self._state = copy(snapshot)

    # --- how it went ---------------------------------------------------------------------------------

    @property
    def log(self) -> list[Action]:
        """Every reply so far, in an order that does not depend on who answered first."""
        return self._now.log

    @property
    def found(self) -> dict[str, str]:
        """Clues found so far, by id, with their finder."""
        return self._now.found

    @property
    def votes(self) -> list[str]:
        return [self._now.votes.get(i, "") for i in range(len(self.names))]

    @property
    def n_cut(self) -> int:
        """How many spoken replies were longer than the rules allow, and shortened."""
        return self._now.n_cut

    @property
    def n_passes(self) -> int:
        """How many prompts got no legal reply, corrections included."""
        return self._now.n_passes

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

    def record(self) -> GameRecord:
        """Return how the game ended."""
        return GameRecord(self.winner(), self.n_rounds, self.votes, self.accused(), self.ending(), self.n_passes,
                      self.n_cut, len(self.found), self.n_reachable)  # fmt: skip

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

    def ending(self) -> str:
        """The text of the first ending whose condition holds; the truth when the script declares none."""
        accused, caught = self.accused(), self.winner() == "civilian"
        holds = {"caught": caught, "escaped": not caught, "tie": not accused, "always": True}
        for e in self.script.endings:
            if holds.get(e.when, e.who == accused):
                return e.text
        return self.script.truth.text

    # --- the course of the game ----------------------------------------------------------------------

    @property
    def _now(self) -> _State:
        if self._state is None:
            raise RuntimeError("call reset(num_players, seed) first")
        return self._state

    @property
    def progress(self) -> float:
        """How much of the game is over, from 0 to 1."""
        state = self._now
        return 1 - (len(state.agenda) + bool(state.pending)) / state.n_steps

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

    def _advance(self) -> None:
        """Go through the agenda until somebody's reply is needed."""
        while self._now.agenda and not self._now.pending:
            self._begin(self._now.agenda.pop())

    def _begin(self, entry: tuple) -> None:
        """Do what one entry of the agenda says."""
        match entry:
            case "stage", k:
                self._begin_stage(k)
            case "round", r:
                self._begin_round(r)
            case "intro", player:
                self._ask(player, Prompt("intro"), self.book.intro)
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
        self._now.stage = k
        text = " ".join(t for t in (stage.name, stage.narration) if t)
        for i, seat in enumerate(self._now.seats):
            seat.lines.append(self.book.stage.format(k=k, n=n, text=text).rstrip())
            if k > 1 and (own := _sections(self.script.characters[i], k, self.book)):
                seat.lines += [line for line in (self.book.now, own) if line]

    def _begin_round(self, r: int) -> None:
        self._now.round = r
        for seat in self._now.seats:
            seat.lines.append(self.book.round.format(k=r, n=self.n_rounds))

    def _begin_turn(self, player: int) -> None:
        prompt = Prompt("turn", self._others(player), self._open_places(player))
        places = self.book.places if prompt.places else self.book.no_places
        self._ask(player, prompt, "\n".join((self.book.turn, places)))

    def _begin_answer(self, player: int, asker: int, question: str) -> None:
        prompt = Prompt("answer", asker=self.names[asker])
        self._ask(player, prompt, self.book.answer, asker=self.names[asker], question=question)

    def _ask_all(self, phase: str, template: str) -> None:
        for i in range(len(self.names)):
            self._ask(i, Prompt(phase, self._others(i)), template)

    def _ask(self, player: int, prompt: Prompt, template: str, **more: str) -> None:
        """Put a prompt to a player, after all that it has seen since its last one."""
        seat = self._now.seats[player]
        text = template.format(
            names=self.book.comma.join(prompt.names), places=self.book.comma.join(prompt.places), **more
        )
        seat.messages.append(Message("user", "\n".join((*seat.lines, text))))
        seat.lines.clear()
        self._now.pending[player] = prompt

    # --- replies -------------------------------------------------------------------------------------

    def _refuse(self, player: int, prompt: Prompt, text: str, why: Illegal) -> None:
        """Correct an illegal reply as often as the rules allow; after that the turn is lost."""
        state = self._now
        state.block.append(Action(player, state.round, prompt.phase, "illegal", text, legal=False, retry=prompt.retry))
        state.tries[player] = state.tries.get(player, 0) + 1
        names, places = self.book.comma.join(prompt.names), self.book.comma.join(prompt.places)
        if state.tries[player] <= self.rules.corrections:
            reason = self.book.reasons[why.reason].format(names=names, places=places or "-")
            form = self.book.forms[prompt.phase].format(names=names)
            correction = self.book.correction.format(reason=reason, form=form)
            state.seats[player].messages.append(Message("user", correction))
            state.pending[player] = prompt._replace(retry=True)
            return
        del state.pending[player]
        state.n_passes += 1
        if prompt.phase == "summary":
            self._continue(player, "")
            return
        state.seats[player].lines.append(self.book.nothing)
        if prompt.phase in ("intro", "answer", "turn"):
            line = (self.book.passes if prompt.phase == "turn" else self.book.silent).format(name=self.names[player])
            self._show(line, Event("pass", self.names[player]), but=player)

    def _continue(self, player: int, summary: str) -> None:
        """Start a player's new view from its summary, and put the prompt that was waiting."""
        seat = self._now.seats[player]
        seat.ended.append(seat.messages)
        self._now.pending[player], asked = seat.held
        self._now.tries.pop(player, None)
        seat.held = None
        notes = self.book.resumed.format(text=summary)
        seat.messages = [seat.messages[0], asked._replace(content=f"{notes}\n{asked.content}")]

    def _accept(self, player: int, prompt: Prompt, text: str, move: Move) -> None:
        state = self._now
        del state.pending[player]
        spoken, cut = clean(move.text, self.rules.max_chars)
        state.n_cut += cut
        clue = self._search(player, move.place) if move.kind == "search" else ""
        public = move.kind not in ("rate", "vote", "summary")
        state.block.append(Action(
            player, state.round, prompt.phase, move.kind, text, move.target, move.place, clue,
            retry=prompt.retry, public=public, ratings=move.ratings,
        ))  # fmt: skip
        if move.kind == "summary":
            self._continue(player, spoken)
        if move.kind == "vote":
            state.votes[player] = move.target
        if move.kind in ("intro", "ask", "answer"):
            self._say(player, move, spoken, prompt)

    def _say(self, player: int, move: Move, spoken: str, prompt: Prompt) -> None:
        me = self.names[player]
        if move.kind == "ask":
            target = self.names.index(move.target)
            line = self.book.asks.format(name=me, target=move.target, text=spoken)
            self._show(line, Event("ask", me, spoken, move.target), but=player, unseen_by=target)
            self._now.agenda.append(("answer", target, player, spoken))
        else:
            says = self.book.says if move.kind == "intro" else self.book.answers
            self._show(says.format(name=me, text=spoken), Event(move.kind, me, spoken, prompt.asker), but=player)
        self._remember(spoken)

    def _search(self, player: int, place: str) -> str:
        """Give the searcher a place's next clue, and tell the others what they may know of it."""
        clue = next(c for c in self._now.clues if c.place == place and self._is_open(c, player))
        me, book = self.names[player], self.book
        self._now.found[clue.id] = me
        mine, theirs = (book.private, book.kept) if clue.private_to else (book.found_own, book.found)
        text, event = " ".join(clue.text.split()), Event("search", me, place=place, clue=clue)
        seen = event._replace(clue=None) if clue.private_to else event
        self._show(theirs.format(name=me, place=place, text=text), seen, but=player)
        self._tell(player, mine.format(place=place, text=text), event)
        return clue.id

    def _remember(self, spoken: str) -> None:
        """Release the memories whose trigger word was just spoken, each to its owner alone."""
        for clue in self._memories:
            if clue.id not in self._now.found and clue.stage <= self._now.stage and _mentions(spoken, clue.trigger):
                self._now.found[clue.id] = clue.private_to
                owner = self.names.index(clue.private_to)
                line = self.book.memory.format(text=" ".join(clue.text.split()))
                self._tell(owner, line, Event("memory", clue.private_to, clue=clue))

    def _settle(self) -> None:
        """Close a phase: log its replies by seat, whatever order they came in."""
        state = self._now
        state.log += sorted(state.block, key=lambda a: a.player)  # one player's replies stay in their order
        state.block.clear()
        state.tries.clear()

    # --- who sees what -------------------------------------------------------------------------------

    def _show(self, line: str, event: Event, *, but: int, unseen_by: int | None = None) -> None:
        """Let everybody see an event; who did it knows already, and who reads it in its own prompt needs no line."""
        for i, seat in enumerate(self._now.seats):
            if i != but:
                seat.events.append(event)
                if i != unseen_by:
                    seat.lines.append(line)

    def _tell(self, player: int, line: str, event: Event) -> None:
        """Let one player alone see an event."""
        self._now.seats[player].lines.append(line)
        self._now.seats[player].events.append(event)

    def _others(self, player: int) -> tuple[str, ...]:
        return self.names[:player] + self.names[player + 1 :]

    def _is_open(self, clue: Clue, player: int) -> bool:
        return (
            clue.id not in self._now.found
            and clue.stage <= self._now.stage
            and not clue.trigger
            and clue.private_to in ("", self.names[player])
        )

    def _open_places(self, player: int) -> tuple[str, ...]:
        held = {c.place for c in self._now.clues if self._is_open(c, player)}
        return tuple(p for p in self.script.places if p in held)

    def _pending(self, player: int | None) -> int:
        pending = self._now.pending
        if not pending:
            raise RuntimeError("the game is over: nobody's reply is awaited")
        if player is None:
            return next(iter(pending))
        if player not in pending:
            raise ValueError(f"player {player} is not awaited now; pending: {sorted(pending)}")
        return player

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
