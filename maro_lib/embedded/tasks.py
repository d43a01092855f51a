"""Small tasks outside the mystery, each with an answer that a program can check.

Arithmetic word problems in one and two steps, instructions about form, and who-was-where deductions, in the words of
the compact register. The embedded model is taught on most of them and scored on the rest: a task's text decides
which (`is_held_out`), so no item is ever in both. Two demands at once are never taught, only scored. Taught in
notebook 00; notebook 07 measures transfer with them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from maro_lib.world.phrases import story_words

PEOPLE, SITES = story_words("en", "compact").names, story_words("en", "compact").places[0]
THINGS = ("coin", "ring", "bell", "candle", "hat", "belt", "mask", "rope")
WORDS = ("gold", "rain", "sun", "night", "fish", "wine", "bird", "home", "love", "war", "smoke", "soap")
MAX_NUMBER = 9  # one token, so that an answer is one choice
SHARE_HELD_OUT = 0.1
PATIENCE = 10_000  # draws without a new item, after which there are none


@dataclass(frozen=True)
class Item:
    """One task: what is asked, an answer to learn from, and what makes an answer right."""

    task: str  # arithmetic, instructions, where
    level: int
    prompt: str
    answer: str
    check: str  # `is <text>`, `words <n>`, `ends <word>`, `begins <word>`, `names <n>`; two joined by "; "


def items(task: str, n: int, seed: int, *, held_out: bool) -> list[Item]:
    """Draw `n` different items of one task from the part to learn from, or from the part to be scored on."""
    return list(_different(task, n, random.Random(f"{task}/{seed}"), held_out))


def draw_item(rng: random.Random) -> Item:
    """Draw one item to learn from, of any task."""
    while True:
        item = MAKERS[rng.choice(TASKS)](rng)
        if not is_held_out(item):
            return item


def is_held_out(item: Item) -> bool:
    """Whether an item is for scoring only; its text alone decides."""
    return blake2b(item.prompt.encode(), digest_size=4).digest()[0] < 256 * SHARE_HELD_OUT


def is_right(item: Item, reply: str) -> bool:
    """Check a reply, forgiving about case and punctuation."""
    said = re.findall(r"[a-z]+|\d+", reply.casefold())
    return all(_holds(check, said) for check in item.check.split("; "))


def _holds(check: str, said: list[str]) -> bool:
    what, _, wanted = check.partition(" ")
    checks: dict[str, Callable[[], bool]] = {
        "is": lambda: said == wanted.split() or said == ["the", *wanted.split()],
        "words": lambda: len(said) == int(wanted),
        "ends": lambda: said[-1:] == [wanted] and len(said) > 1,
        "begins": lambda: said[:1] == [wanted] and len(said) > 1,
        "names": lambda: len(said) == len(set(said)) == int(wanted) and set(said) <= {n.casefold() for n in PEOPLE},
    }
    return checks[what]()


def _different(task: str, n: int, rng: random.Random, held_out: bool) -> Iterator[Item]:
    makers = (MAKERS[task], *NEVER_TAUGHT.get(task, ())) if held_out else (MAKERS[task],)
    seen: set[str] = set()
    in_vain = 0
    while len(seen) < n:
        item = makers[len(seen) % len(makers)](rng)
        if is_held_out(item) == held_out and item.prompt not in seen:
            seen.add(item.prompt)
            in_vain = 0
            yield item
        elif (in_vain := in_vain + 1) == PATIENCE:
            raise ValueError(f"{task}: there are hardly {n} different items; ask for fewer")


# --- one item of each kind ---------------------------------------------------------------------------


def _arithmetic(rng: random.Random) -> Item:
    """Somebody has some things; once or twice some come or go; how many are there?"""
    level, thing = rng.choice((1, 2)), rng.choice(THINGS)
    (who, *others), have = rng.sample(PEOPLE, 3), rng.randint(1, MAX_NUMBER)
    told, total = [f"{who} has {have} {thing}s."], have
    for other in others[:level]:
        more = total < 2 or (rng.random() < 0.5 and total < MAX_NUMBER)
        k = rng.randint(1, MAX_NUMBER - total if more else total - 1)
        told.append(f"{other} gives {who} {k} {thing}s." if more else f"{who} gives {other} {k} {thing}s.")
        total += k if more else -k
    prompt = f"{' '.join(told)} How many {thing}s has {who}?"
    return Item("arithmetic", level, prompt, f"{total}", f"is {total}")


def _where(rng: random.Random) -> Item:
    """People are at places and move, on their own or to where somebody else is; where is one of them now?"""
    level = rng.choice((1, 2))
    people, places = rng.sample(PEOPLE, 3), rng.sample(SITES, 4)
    at = dict(zip(people, places, strict=False))
    told = [f"{who} is at the {place}." for who, place in at.items()]
    for _ in range(level):
        who = rng.choice(people)
        other = rng.choice([p for p in people if p != who])
        joins = level == 2 and rng.random() < 0.5
        at[who] = at[other] if joins else rng.choice([p for p in places if p != at[who]])
        told.append(f"{who} goes to {other}." if joins else f"{who} goes to the {at[who]}.")
    who = rng.choice(people)
    return Item("where", level, f"{' '.join(told)} Where is {who}?", f"The {at[who]}.", f"is {at[who]}")


def _instruction(rng: random.Random) -> Item:
    """Say something about somebody, in a form that is asked for."""
    who, place = rng.choice(PEOPLE), rng.choice(SITES)
    fact, word = f"{who} was at the {place}.", rng.choice(WORDS)
    n, kind = rng.randint(1, 5), rng.choice(("words", "ends", "begins", "names", "names", "names"))
    about = f"Where was {who}?"
    if kind == "words":
        answer = ("It", "The PLACE", "At the PLACE", "WHO was PLACE now", "WHO was at the PLACE")[n - 1]
        answer = place.capitalize() if n == 1 else answer.replace("PLACE", place).replace("WHO", who)
        return Item("instructions", 1 + (n > 3), f"{fact} {about} Say exactly {n} words.", f"{answer}.", f"words {n}")
    if kind == "names":
        n += 2
        answer = " ".join(rng.sample(PEOPLE, n))
        return Item("instructions", 1 + (n > 3), f"{fact} Say exactly {n} names.", f"{answer}.", f"names {n}")
    if kind == "ends":
        prompt, answer = f"{fact} {about} End with the word {word}.", f"At the {place} {word}."
        return Item("instructions", 1, prompt, answer, f"ends {word}")
    prompt, answer = f"{fact} {about} Begin with the word {word}.", f"{word.capitalize()} at the {place}."
    return Item("instructions", 2, prompt, answer, f"begins {word}")


def _two_demands(rng: random.Random) -> Item:
    """Two demands at once: what the single ones teach, put together."""
    who, place, (first, last) = rng.choice(PEOPLE), rng.choice(SITES), rng.sample(WORDS, 2)
    n = rng.randint(3, 5)
    demands = {
        f"begins {first}": f"Begin with the word {first}.", f"ends {last}": f"End with the word {last}.",
        f"words {n}": f"Say exactly {n} words.",
    }  # fmt: skip
    left_out = rng.choice(list(demands))
    checks = [check for check in demands if check != left_out]
    told = [f"the {place}", f"at the {place}", f"{who} at the {place}"]  # 2, 3, 4 words beside the first or last
    middle = told[1] if left_out == f"words {n}" else told[n - 3]
    answer = " ".join([first] * (checks[0] != f"ends {last}") + [middle] + [last] * (f"ends {last}" in checks))
    answer = answer[0].upper() + answer[1:]
    prompt = f"{who} was at the {place}. Where was {who}? {' '.join(demands[check] for check in checks)}"
    return Item("instructions", 3, prompt, f"{answer}.", "; ".join(checks))


NEVER_TAUGHT: dict[str, tuple[Callable[[random.Random], Item], ...]] = {"instructions": (_two_demands,)}

MAKERS: dict[str, Callable[[random.Random], Item]] = {
    "arithmetic": _arithmetic,
    "instructions": _instruction,
    "where": _where,
}
TASKS = tuple(MAKERS)
