"""What the embedded model reads: games between scripted players, drills, and small tasks.

A lesson is a view as a player will read it, whose players are good or bad for a whole game (`policies.Mixture`), or a
small task in plain chat form (`tasks`). Drills teach copying (prompts answered at random, lists said again and again)
and evidence (all clues, and the vote that they prove). Good players come first, for evidence is learned only where most
players follow it; the mixture of good and bad ones, which the model is to imitate, comes last. Where a recipe names
more worlds than the mystery, a part of the games and of the drills is theirs (`other_worlds`). Taught in notebook 00.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from maro_lib.embedded import tasks
from maro_lib.embedded.other_worlds import HOME_WORLD, TAUGHT, command_drills, world_views
from maro_lib.model.chat import Chat
from maro_lib.play.policies import SKILLED, Mixture, Policy, Reply, Request
from maro_lib.play.rollout import Game, run_sessions, start
from maro_lib.settings import filled
from maro_lib.wording import check_name
from maro_lib.world.generator import Knobs, generate
from maro_lib.world.mystery import Event, MurderMystery, Rules, system_message
from maro_lib.world.phrases import phrasebook
from maro_lib.world.protocol import Message, Prompt
from maro_lib.world.scripts import Clue, Script
from maro_lib.worlds.coordination import PAINTS

BOOK = phrasebook("en", "compact")
Maker = Callable[[random.Random], tuple[Knobs, Rules]]
ROUNDING = 1e-9  # of shares that are added up
DECISIVE = {"Vote": 4.0, "Turn": 4.0}  # few tokens on which much depends: they weigh more
COMMAND = 3.0  # the weight of other worlds' commands: few tokens too, but many of their numbers are drawn by chance
CORRECTION = Message("user", BOOK.correction.format(reason=BOOK.reasons["name"], form=BOOK.forms["vote"]))


@dataclass(frozen=True)
class Recipe:
    """All that decides the embedded model. Its values are the parameters of notebook 00."""

    seed: int = 0
    tokens: int = 1_000_000  # to learn from
    hidden: int = 128
    layers: int = 4
    window: int = 2048
    init_std: float = 0.06
    lr: float = 1.5e-3
    lr_matrices: float = 0.01
    warmup: float = 0.03  # share of the tokens
    batch_tokens: int = 4096
    observed: float = 0.1  # weight of tokens that are not the model's own
    share_tasks: float = 0.5  # of the sequences, which are short
    share_drills: float = 0.2  # of the sequences
    shares: tuple[float, float, float] = (0.1, 0.2, 0.3)  # of the tokens: drills, then short games, then longer ones
    share_reserved: float = 0.4  # of the games, in which nobody says whom they suspect
    share_good: float = 0.4  # of the scripted players in the last lessons, which decide how the model plays
    half: bool = True  # compute in bfloat16 where the processor can
    vocabulary: int = 896  # tokens that the tokenizer has, at most
    worlds: tuple[str, ...] = (HOME_WORLD,)  # of which there are lessons; the mystery first
    world_shares: tuple[float, ...] = (1.0,)  # of the games, by world
    share_skilled: float = 0.4  # of the seats of other worlds in the last lessons
    share_candid: float = 0.0  # of the mysteries, in which every civilian rates by the evidence
    weight_ratings: float = 1.0  # of the tokens of a rating
    start: str = ""  # the model that goes on learning; empty: a new one
    shown: tuple[str, ...] = ()  # worlds of which most drills are games of skilled players
    share_orders: float = 0.0  # of the drills: words said once each, in one order after another

    def __post_init__(self) -> None:
        for world in self.worlds:
            check_name("lesson_worlds", world, TAUGHT)
        for world in self.shown:
            check_name("lesson_shown", world, self.worlds[1:])
        if self.worlds[:1] != (HOME_WORLD,) or len({*self.worlds}) < len(self.worlds):
            raise ValueError(f"lesson_worlds: {', '.join(self.worlds)}; {HOME_WORLD} first, and each world once")
        if len(self.world_shares) != len(self.worlds) or not min(self.world_shares) > 0:
            raise ValueError(
                f"lesson_world_shares: {self.world_shares}; give a share above 0 for each of lesson_worlds"
            )
        if self.share_tasks + self.share_drills > 1 + ROUNDING:
            raise ValueError(f"lesson_share_tasks, lesson_share_drills: {self.share_tasks}, {self.share_drills}; of 1 "
                             "together at most, the rest are games")  # fmt: skip
        if len(self.shares) != 3 or sum(self.shares) > 1 + ROUNDING:
            raise ValueError(f"lesson_shares: {self.shares}; three shares are needed, of 1 together at most")

    @property
    def is_of_worlds(self) -> bool:
        """Whether there are lessons of other worlds than the mystery."""
        return self.worlds != (HOME_WORLD,)


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """Make a recipe of the parameters of notebook 00: those called `lesson_...`, and the model's sizes."""
    named = {name.removeprefix("lesson_"): value for name, value in [*parameters.items()]}
    lists = {name: tuple(named[name]) for name in ("worlds", "world_shares", "shares", "shown") if name in named}
    return filled(Recipe, named | lists)


class Example(NamedTuple):
    """One sequence to learn from."""

    ids: list[int]
    weights: list[float]


# --- games -------------------------------------------------------------------------------------------


RECITED = 64  # tokens
ORDERS = 6  # in which some words are said
SHARE_COMMANDS, SHARE_RATED = 0.5, 0.3  # of the drills where there are other worlds, and of the rest of them
SHARE_SHOWN = 0.9  # of good players, while the model learns to reason
SHARE_WHOLE = 0.7  # of the drills in other worlds, where whole games are shown
HOME = Knobs(characters=5, red_herrings=2)


def short_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """A game that is over soon: the beginning of the lessons."""
    knobs = Knobs(characters=rng.randint(3, 4), places=rng.randint(2, 3), clues=rng.randint(2, 4), red_herrings=1,
                  private_clues=rng.randint(0, 1))  # fmt: skip
    return knobs, Rules(rounds=1)


def longer_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """A game of about the size that the notebooks play."""
    if rng.random() < 0.2:
        return short_game(rng)
    knobs = Knobs(characters=rng.choice((4, 5, 5)), places=rng.randint(3, 4), clues=rng.randint(4, 6),
                  red_herrings=rng.randint(1, 3), private_clues=rng.randint(0, 1))  # fmt: skip
    return knobs, Rules(rounds=2)


def any_game(rng: random.Random) -> tuple[Knobs, Rules]:
    """Half of them as before, half of every size and kind."""
    if rng.random() < 0.5:
        return longer_game(rng)
    n = rng.choice((4, 5, 5, 6, 6, 6, 7, 8))
    clues = rng.choice((4, 6, 6, 6, 8))
    knobs = Knobs(
        stages=rng.choice((1, 1, 1, 2)), special_rules=rng.choice((0, 0, 0, 1)),
        ending=rng.choice(("closed", "closed", "open")), characters=n,
        culprits=2 if n > 5 and rng.random() < 0.2 else 1, places=rng.choice((3, 4, 4, 5)), clues=clues,
        red_herrings=rng.choice((1, 3, 3, 5)), private_clues=rng.choice((0, 1, 1, 2)),
    )  # fmt: skip
    return knobs, Rules(rounds=rng.choice((2, 3, 3)))


def default_game(_: random.Random) -> tuple[Knobs, Rules]:
    """The game that the notebooks play with this model."""
    return HOME, Rules(rounds=2)


def lesson_games(rng: random.Random, maker: Maker, n: int) -> Iterator[Game]:
    """Draw `n` games, none of which any run plays: their scripts come from seeds above 2**32."""
    for k in range(n):
        knobs, rules = maker(rng)
        seed = rng.randrange(2**32, 2**48)
        yield Game(f"g{k}", k, generate(seed, knobs), seed, rules)


@dataclass(frozen=True)
class Slips:
    """Scripted players who now and then say what is not allowed, and put it right when they are corrected."""

    players: Policy
    share: float = 0.03
    name: str = "slips"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        meant = self.players.act(requests)
        return [self._slip(r) or reply for r, reply in zip(requests, meant, strict=True)]

    def _slip(self, request: Request) -> Reply | None:
        rng, me, book = request.rng("slip", request.t), request.brief.me.name, request.brief.book
        if request.prompt.retry or rng.random() >= self.share:
            return None
        closed = [p for p in tasks.SITES if p not in request.prompt.places]
        wrong = {
            "turn": [book.search.format(place=rng.choice(closed)), book.ask.format(name=me, text=book.question)],
            "vote": [book.voted.format(name=me), book.no_idea], "rate": [book.no_idea, book.voted.format(name=me)],
        }  # fmt: skip
        return Reply(rng.choice(wrong[request.prompt.phase])) if request.prompt.phase in wrong else None


@dataclass(frozen=True)
class Reserved:
    """Players who tell what they know but never whom they suspect: who listens must read the evidence."""

    players: Policy
    name: str = "reserved"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        told = self.players.act(requests)
        return [self._without_suspicion(r, reply.text) for r, reply in zip(requests, told, strict=True)]

    def _without_suspicion(self, request: Request, text: str) -> Reply:
        book = request.brief.book
        for name in request.brief.names:
            text = text.replace(book.suspect.format(name=name), "").replace("  ", " ")
        return Reply(text.strip() or book.no_idea)


@dataclass(frozen=True)
class Candid:
    """Players whose civilians rate as the evidence says, whatever else they do."""

    players: Mixture
    name: str = "candid"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        meant = self.players.act(requests)
        return [SKILLED.act([r])[0] if _rates_as_civilian(r) else reply
                for r, reply in zip(requests, meant, strict=True)]  # fmt: skip


def _rates_as_civilian(request: Request) -> bool:
    return request.prompt.phase == "rate" and request.brief.me.faction == "civilian"


def views(
    rng: random.Random, maker: Maker, share_good: float, share_reserved: float = 0.0, n_games: int = 64,
    share_candid: float = 0.0,
) -> Iterator[list[Message]]:  # fmt: skip
    """Play games by scripted players without end, and yield every player's view."""
    mixed = Mixture(share_good)

    def seated() -> Policy:
        is_reserved = rng.random() < share_reserved
        is_candid = share_candid > 0 and rng.random() < share_candid
        players = Slips(Candid(mixed) if is_candid else mixed)
        return Reserved(players) if is_reserved else players

    while True:
        played = lesson_games(rng, maker, n_games)
        started = (start(g, seated()) for g in played)
        for session in run_sessions(started, n_games):
            for seat in range(len(session.seats)):
                yield list(session.env.private_view(seat))


def drill(rng: random.Random) -> list[Message]:
    """A view of nothing but prompts, answered at random: copying names is learned from few tokens."""
    me, *others = rng.sample(tasks.PEOPLE, rng.randint(3, 8))
    sites = rng.sample(tasks.SITES, rng.randint(1, 5))
    names, places = " ".join(others), " ".join(sites)
    rate = [BOOK.rating.format(name=n, s=rng.randrange(3), b=rng.randrange(3)) for n in others]
    asked = [
        (f"{BOOK.turn}\n{BOOK.places}", BOOK.search.format(place=rng.choice(sites))),
        (f"{BOOK.turn}\n{BOOK.places}", BOOK.ask.format(name=rng.choice(others), text=BOOK.question)),
        (BOOK.rate, BOOK.rating_joint.join(rate)),
        (BOOK.vote, BOOK.voted.format(name=rng.choice(others))),
    ]
    view = [Message("system", BOOK.you_are.format(name=me, others=names))]
    for prompt, reply in rng.sample(asked, len(asked)):
        view += [Message("user", prompt.format(names=names, places=places)), Message("assistant", reply)]
    return view


def clue_drill(rng: random.Random) -> list[Message]:
    """A view that holds all the clues and nothing else, and the vote that they prove."""
    script, seat, others = _civilian(rng)
    clues = rng.sample(script.clues, len(script.clues))
    asked = "\n".join((*_found(rng, clues, others), BOOK.vote.format(names=BOOK.comma.join(others))))
    return [
        Message("system", system_message(script, seat, Rules())), Message("user", asked),
        Message("assistant", BOOK.voted.format(name=rng.choice(script.culprits))),
    ]  # fmt: skip


def rating_drill(rng: random.Random) -> list[Message]:
    """A view that holds some of the clues, then all of them, each time with the ratings that they prove."""
    script, seat, others = _civilian(rng)
    clues = rng.sample(script.clues, len(script.clues))
    n, view = rng.randrange(len(clues)), [Message("system", system_message(script, seat, Rules()))]
    for new, known in ((clues[:n], clues[:n]), (clues[n:], clues)):
        asked = "\n".join((*_found(rng, new, others), BOOK.rate.format(names=BOOK.comma.join(others))))
        view += [Message("user", asked), Message("assistant", _proven_ratings(script, seat, others, known))]
    return view


def _civilian(rng: random.Random) -> tuple[Script, int, list[str]]:
    """Draw a script, a civilian's seat in it, and the names of the others."""
    script = generate(rng.randrange(2**32, 2**48), longer_game(rng)[0])
    seat = rng.choice([i for i, c in enumerate(script.characters) if c.faction == "civilian"])
    return script, seat, [name for name in script.names if name != script.names[seat]]


def _found(rng: random.Random, clues: Sequence[Clue], others: Sequence[str]) -> list[str]:
    return [BOOK.found.format(name=rng.choice(others), place=c.place, text=c.text) for c in clues]


def _proven_ratings(script: Script, seat: int, others: Sequence[str], clues: Sequence[Clue]) -> str:
    """What a player who goes by the evidence says of the others after these clues."""
    game = MurderMystery(script)
    game.reset(len(script.names), 0)
    seen = [Event("search", script.names[seat], clue=clue) for clue in clues]
    asked = Request("drill", seat, 1, 0, "", (), Prompt("rate", tuple(others)), seen, game.brief(seat))
    return SKILLED.act([asked])[0].text


def examples(rng: random.Random, chat: Chat, recipe: Recipe, maker: Maker, share_good: float) -> Iterator[Example]:
    """Yield games' views, small tasks and drills, tokenised and weighted."""
    played = games_of(rng, recipe, maker, share_good)
    drilled = drills(rng, chat, recipe)
    while True:
        kind = rng.random()
        if kind < recipe.share_tasks:
            yield task_example(chat, tasks.draw_item(rng), recipe.observed)
        elif kind < recipe.share_tasks + recipe.share_drills:
            yield next(drilled)
        else:
            yield weigh(chat, next(played), recipe.observed, recipe.weight_ratings)


def games_of(rng: random.Random, recipe: Recipe, maker: Maker, share_good: float) -> Iterator[list[Message]]:
    """Yield views of games of all the recipe's worlds; those of other worlds by as many skilled players, at least."""
    mysteries = views(rng, maker, share_good, recipe.share_reserved, share_candid=recipe.share_candid)
    if not recipe.is_of_worlds:
        yield from mysteries
    share_skilled = max(share_good, recipe.share_skilled)
    others = {world: world_views(rng, world, share_skilled) for world in recipe.worlds[1:]}
    while True:
        world = rng.choices(recipe.worlds, recipe.world_shares)[0]
        yield next(others.get(world, mysteries))


def weigh(chat: Chat, view: Sequence[Message], observed: float, ratings: float = 1.0) -> Example:
    """Tokenise a view; full weight where the player spoke, stop token included, but none on what was corrected."""
    ids, weights = [], []
    stop = chat.tokenizer.eos_token_id
    corrected = {k - 1 for k, m in enumerate(view) if _is_correction(m)}
    decisive = {"Rate": ratings, **DECISIVE}
    asked = ""
    for k, message in enumerate(view):
        if message.role == "assistant":
            said = [*chat.text_ids(message.content), stop]
            weight = COMMAND if _is_command(message.content) else decisive.get(asked, 1.0)
            ids += said
            weights += [0.0 if k in corrected else weight] * len(said)
        elif message.role == "user":
            asked = asked if _is_correction(message) else _last_prompt(message.content)
            new = chat.encode(view[:2]) if k == 1 else chat.observe([stop], message.content)
            ids += new
            weights += [observed] * len(new)
    return Example(ids, weights)


def _is_correction(message: Message) -> bool:
    """Whether a reply before this did not count; worlds say why not, the mystery does not."""
    return message.role == "user" and message.content.startswith(f"{CORRECTION.content.split()[0]} ")


def _is_command(said: str) -> bool:
    """Whether a reply begins with a word in capitals, as in other worlds than the mystery."""
    return re.match(r"[A-Z]{3,}\b", said) is not None


def _last_prompt(content: str) -> str:
    """The word that says what is asked: the last line's that ends it with a question mark."""
    return next((line.partition("?")[0] for line in reversed(content.split("\n")) if re.match(r"\w+\?", line)), "")


def drills(rng: random.Random, chat: Chat, recipe: Recipe) -> Iterator[Example]:
    """Yield drills; where there are other worlds, half of them are theirs, and some of the rest are in rating."""
    asked = {world: command_drills(rng, world) for world in recipe.worlds[1:]}
    shown = {world: world_views(rng, world, 1.0) for world in recipe.shown}
    while True:
        if recipe.share_orders and rng.random() < recipe.share_orders:
            yield order_drill(chat, rng)
        elif not asked:
            yield drill_example(chat, rng, recipe.observed)
        elif rng.random() < SHARE_COMMANDS:
            of = shown if shown and rng.random() < SHARE_WHOLE else asked
            yield weigh(chat, next(of[rng.choice([*of])]), recipe.observed)
        elif rng.random() < SHARE_RATED:
            yield weigh(chat, rating_drill(rng), recipe.observed, recipe.weight_ratings)
        else:
            yield drill_example(chat, rng, recipe.observed)


def drill_example(chat: Chat, rng: random.Random, observed: float) -> Example:
    """Tokenise a drill, a recital, or evidence; whatever can be foreseen has full weight."""
    kind = rng.randrange(3)
    if kind == 0:
        return weigh(chat, clue_drill(rng), observed)
    if kind == 1:
        return weigh(chat, drill(rng), 1.0)
    words = rng.sample((*tasks.PEOPLE, *tasks.SITES), rng.randint(3, 12))
    once = chat.text_ids("".join(f" {word}" for word in words))
    ids = (once * RECITED)[:RECITED]
    return Example(ids, [0.0] * len(once) + [1.0] * (RECITED - len(once)))


def order_drill(chat: Chat, rng: random.Random) -> Example:
    """Some words, each once, in one order after another: what is left to say once some of them were said."""
    words = rng.sample((*tasks.PEOPLE, *tasks.SITES, *PAINTS), rng.randint(3, 8))
    once, *again = (chat.text_ids(" ".join(rng.sample(words, len(words))) + ".") for _ in range(ORDERS))
    said = [i for ids in again for i in ids]
    return Example([*once, *said], [0.0] * len(once) + [1.0] * len(said))


def task_example(chat: Chat, item: tasks.Item, observed: float) -> Example:
    """Tokenise a task in plain chat form."""
    asked = chat.question(item.prompt)
    said = [*chat.text_ids(item.answer), chat.tokenizer.eos_token_id]
    return Example([*asked, *said], [observed] * len(asked) + [1.0] * len(said))


# --- in which order ----------------------------------------------------------------------------------


def lessons(chat: Chat, recipe: Recipe) -> Iterator[list[Example]]:
    """Drills; then short games and longer ones, by good players, who show how to reason; then all, by good and bad."""
    rng = random.Random(f"lessons/{recipe.seed}")
    plan = (
        drills(rng, chat, recipe),
        examples(rng, chat, recipe, short_game, SHARE_SHOWN),
        examples(rng, chat, recipe, longer_game, SHARE_SHOWN),
        examples(rng, chat, recipe, any_game, recipe.share_good),
    )
    for stream, share in zip(plan, (*recipe.shares, 1.0), strict=True):
        left = share * recipe.tokens
        if left <= 0:
            continue
        for batch in batches(stream, recipe.batch_tokens):
            yield batch
            left -= sum(len(e.ids) for e in batch)
            if left <= 0:
                break


def batches(stream: Iterable[Example], budget: int) -> Iterator[list[Example]]:
    """Collect sequences of like length until they fill the budget of tokens when padded."""
    waiting: dict[int, list[Example]] = {}
    for example in stream:
        group = waiting.setdefault(width(example), [])
        group.append(example)
        if len(group) == max(1, budget // width(example)):
            yield waiting.pop(width(example))


def width(example: Example) -> int:
    """The length to which a sequence is padded: few different ones, for each costs memory on a processor."""
    return 32 * ceil(len(example.ids) / 32)
