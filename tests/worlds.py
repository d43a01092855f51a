"""Small mysteries and players for tests of the game: everything that a rule is about, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maro_lib.play.policies import RANDOM, Policy, Reply, Request, Styled
from maro_lib.world.mystery import Brief, MurderMystery, Rules
from maro_lib.world.protocol import Command, Environment
from maro_lib.world.scripts import Script, bundled, parse_script
from maro_lib.worlds.commands import written
from maro_lib.worlds.registry import knobs_of
from maro_lib.worlds.world import World

NAMES = ("Ann", "Ben", "Cal", "Dot")
CLUES = (
    {"id": "rope", "place": "barn", "text": "Ann had the rope.", "facts": [("Ann", "had", "rope")]},
    {"id": "axe", "place": "barn", "text": "Ben had the axe.", "facts": [("Ben", "had", "axe")]},
    {"id": "knife", "place": "mill", "text": "Cal had the knife.", "facts": [("Cal", "had", "knife")]},
    {"id": "letter", "place": "mill", "text": "The letter is from Ann's aunt.", "private_to": "Ann"},
    {"id": "cup", "place": "pond", "text": "Dot had the cup.", "private_to": "Dot", "facts": [("Dot", "had", "cup")]},
    {"id": "ring", "place": "barn", "text": "You lost a ring there.", "private_to": "Ben", "trigger": "ring"},
)
ZH_WORDS = {
    "Ann": "安娜", "Ben": "王明", "Cal": "王明华", "Dot": "朵朵",
    "barn": "谷仓", "mill": "磨坊", "pond": "池塘", "ring": "戒指",
}  # fmt: skip


def world(
    names: Sequence[str] = NAMES,
    culprits: Sequence[str] = ("Cal",),
    clues: Sequence[Mapping] = CLUES,
    stages: Sequence[Mapping] = ({},),
    goals: Mapping[str, Sequence[Mapping]] | None = None,
    **more: Any,
) -> Script:
    """Return a script; each character's story is "Only <name> knows this, part <stage>."."""
    return parse_script({
        "title": "A small world", "cell": "SOC" if len(stages) == 1 else "MOC", "background": "Mr Gray is dead.",
        "given": [_fact(("culprit", "had", "knife"))], "unique": ["had"],
        "stages": list(stages),
        "characters": [
            {"name": n, "faction": "culprit" if n in culprits else "civilian", "goals": list((goals or {}).get(n, ())),
             "sections": [{"story": f"Only {n} knows this, part {k}."} for k in range(1, len(stages) + 1)]}
            for n in names
        ],
        "clues": [clue | {"facts": [_fact(f) for f in clue.get("facts", ())]} for clue in clues],
        "truth": {"culprits": list(culprits), "text": "It was " + ", ".join(culprits) + "."},
    } | more)  # fmt: skip


def parts(n: int) -> list[dict[str, str]]:
    """`n` stages with nothing but a name."""
    return [{"name": f"Part {k}."} for k in range(1, n + 1)]


def zh_world() -> Script:
    """The same world with Chinese names (of which one begins with another) and places."""
    zh = {k: ZH_WORDS.get(k, k) for k in (*NAMES, "barn", "mill", "pond", "ring", "")}
    clues = [
        c | {k: zh[c.get(k, "")] for k in ("place", "private_to", "trigger")}
        | {"facts": [(zh[who], trait, value) for who, trait, value in c.get("facts", ())]}
        for c in CLUES
    ]  # fmt: skip
    return world(tuple(zh[n] for n in NAMES), (zh["Cal"],), clues, language="zh", title="小世界")


def worlds() -> dict[str, Script]:
    """One script of each language and register, by name."""
    return {"en": world(), "compact": world(register="compact"), "zh": zh_world()}


def varied_scripts() -> dict[str, Script]:
    """Everything that the package brings or makes: bundled scripts, and generated ones with each knob turned."""
    from maro_lib.world.generator import Knobs, generate

    rich = {"characters": 5, "culprits": 2, "private_clues": 3, "stages": 2, "special_rules": 1, "ending": "open"}
    return bundled() | {
        "generated-compact": generate(0, Knobs(register="compact")),
        "generated-prose": generate(1, Knobs(register="prose")),
        "generated-zh": generate(4, Knobs(register="prose", language="zh")),
        "generated-rich-compact": generate(2, Knobs(register="compact", **rich)),
        "generated-rich-prose": generate(3, Knobs(register="prose", **rich)),
        "generated-rich-zh": generate(5, Knobs(register="prose", language="zh", **rich)),
    }


def begin(script: Script | None = None, seed: int = 0, **rules: Any) -> MurderMystery:
    """Return a game that has just begun."""
    env = MurderMystery(script or world(), Rules(**rules))
    env.reset(len(env.names), seed)
    return env


def requests(env: Environment, taken: Mapping[int, int], seed: int = 0, game: str = "g") -> list[Request]:
    """Everything that a game waits for now."""
    return [
        Request(game, p, taken.get(p, 0) + 1, seed, "", env.private_view(p), env.prompt(p), env.events(p), env.brief(p))
        for p in env.pending_players()
    ]


def advance(env: Environment, policy: Policy, taken: Counter[int], seed: int = 0) -> None:
    """Answer everything that a game waits for now."""
    wanted = requests(env, taken, seed)
    for request, reply in zip(wanted, policy.act(wanted), strict=True):
        taken[request.player] += 1
        env.step(reply.text, request.player)


def finish(env: Environment, policy: Policy, seed: int = 0, taken: Counter[int] | None = None) -> Environment:
    """Play a game to its end."""
    taken = Counter() if taken is None else taken
    while env.pending_players():
        advance(env, policy, taken, seed)
    return env


def play_until(env: MurderMystery, phase: str, policy: Policy) -> int:
    """Play on until somebody is asked for this phase, and return who."""
    taken: Counter[int] = Counter()
    while (player := env.pending_players()[0], env.prompt(env.pending_players()[0]).phase)[1] != phase:
        advance(env, policy, taken)
    return player


def course(env: MurderMystery) -> tuple:
    """Everything that a finished game can be asked about."""
    views = [list(env.private_view(i)) for i in range(len(env.names))]
    events = [list(env.events(i)) for i in range(len(env.names))]
    return views, events, env.log, env.found, env.votes, env.n_cut, env.n_passes, env.close(), env.ending()


def last_words(env: MurderMystery, player: int) -> str:
    """What a player was shown last."""
    return next(m.content for m in reversed(env.private_view(player)) if m.role == "user")


def correct_reply(request: Request) -> str:
    """The simplest legal reply: the first name, the first place if there is one."""
    prompt = request.prompt
    if not isinstance(request.brief, Brief):
        return written(c := prompt.commands[0], filled(c)) if prompt.commands else "I say something."
    book = request.brief.book
    if prompt.phase == "turn" and prompt.places:
        return book.search.format(place=prompt.places[0])
    if prompt.phase == "turn":
        return book.ask.format(name=prompt.names[0], text=book.question)
    if prompt.phase == "rate":
        return book.rate_all(dict.fromkeys(prompt.names, (1, 1)))
    return book.voted.format(name=prompt.names[0]) if prompt.phase == "vote" else book.no_idea


def filled(command: Command, k: int = 0) -> dict[str, str]:
    """A command filled in with the first (or another) of its options."""
    return {b.name: b.options[k % len(b.options)] if b.options else "I say something." for b in command.blanks}


@dataclass(frozen=True)
class Says:
    """A player made of one function from a request to a text."""

    name: str
    say: Callable[[Request], str] = correct_reply

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self.say(r)) for r in requests]


def in_seats(*styles: str) -> Says:
    """A player by rule in each seat of another world."""
    return Says("table", lambda r: _by_rule(styles[r.player]).act([r])[0].text)


def _by_rule(style: str) -> Policy:
    return RANDOM if style == "random" else Styled(style)


def averages(kind: type[World], *styles: str, games: int = 60, **knobs: Any) -> tuple[list[float], list[float]]:
    """The payoff and the rate of success of each seat, over games of a world."""
    ends = []
    for seed in range(games):
        env = kind(kind.generate(seed, knobs_of(kind, knobs)))
        env.reset(len(env.names), seed)
        ends.append(finish(env, in_seats(*styles), seed))
    payoffs, successes = (
        zip(*(e.payoffs() for e in ends), strict=True),
        zip(*(e.successes() for e in ends), strict=True),
    )
    return [sum(c) / games for c in payoffs], [sum(c) / games for c in successes]


@dataclass(frozen=True)
class Fixed:
    """Replies given beforehand, by player and own action index."""

    replies: Mapping[tuple[int, int], str]
    name: str = "fixed"

    def act(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(self.replies[r.player, r.t]) for r in requests]


PLAIN = Says("plain")


def _fact(words: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("who", "trait", "value"), words, strict=True))
