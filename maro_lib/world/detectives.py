"""Players of the mystery by rule: the yardstick and, later, the embedded model's teachers.

A skilled civilian searches fresh places, weighs the evidence and votes by it; a skilled culprit finds nothing, wastes
time and turns everybody against one innocent. A naive player does what comes to mind, believes what is said most
often, and, if guilty, forgets to deflect. Taught in notebook 02.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from maro_lib.world.solver import suspects


def _anything(request: Any, rng: random.Random) -> str:
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    others = [n for n in brief.names if n != brief.me.name]
    if prompt.phase == "intro":
        return book.name_self.format(name=brief.me.name)
    if prompt.phase == "turn":
        if prompt.places and rng.random() < 0.5:
            return book.search.format(place=rng.choice(prompt.places))
        return book.ask.format(name=rng.choice(prompt.names), text=book.question)
    if prompt.phase == "rate":
        return book.rate_all({n: (rng.randrange(3), rng.randrange(3)) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=rng.choice(prompt.names))
    return book.suspect.format(name=rng.choice(others)) if rng.random() < 0.5 else book.no_idea


def _naive(request: Any, rng: random.Random) -> str:
    """Do what comes to mind, but believe of others what is said most often."""
    prompt, book, accused = request.prompt, request.brief.book, _accusations(request)
    if not accused or prompt.phase not in ("rate", "vote"):
        return _anything(request, rng)
    worst = _best(dict.fromkeys(prompt.names, 0.0), accused, rng)
    if prompt.phase == "vote":
        return book.voted.format(name=worst)
    return book.rate_all({n: (2, 0) if n == worst else (int(accused[n] > 0), 1) for n in prompt.names})


def _skilled(request: Any, rng: random.Random) -> str:
    """Play well, as one's faction should."""
    return _civilian(request, rng) if request.brief.me.faction == "civilian" else _culprit(request)


def _civilian(request: Any, rng: random.Random) -> str:
    """Search what nobody has searched, tell what you know, and rate and vote by the evidence."""
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    guilt = suspicion(request)
    top = _best(guilt, _accusations(request), rng)
    if prompt.phase == "turn":
        if prompt.places:
            return book.search.format(place=_freshest(request, rng))
        return book.ask.format(name=top, text=book.question)
    if prompt.phase == "rate":
        return book.rate_all({n: _rating(guilt[n]) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=top)
    testimony = " ".join(_testimony(request))
    if prompt.phase == "intro":
        return f"{book.name_self.format(name=brief.me.name)} {testimony}".strip()
    sure = book.suspect.format(name=top) if guilt[top] > 1 / 2 else book.no_idea
    return f"{testimony} {sure}".strip()


def _culprit(request: Any) -> str:
    """Find nothing, spend time on questions, and turn everybody against one innocent."""
    prompt, brief, book = request.prompt, request.brief, request.brief.book
    victim = _scapegoat(request)
    accuse = book.suspect.format(name=victim)
    if prompt.phase == "turn":
        return book.ask.format(name=victim, text=f"{accuse} {book.question}")
    if prompt.phase == "rate":
        return book.rate_all({n: (2, 0) if n == victim else (0, 2) for n in prompt.names})
    if prompt.phase == "vote":
        return book.voted.format(name=victim)
    return f"{book.name_self.format(name=brief.me.name)} {accuse}" if prompt.phase == "intro" else accuse


# --- what a scripted player makes of its view --------------------------------------------------------


def suspicion(request: Any) -> dict[str, float]:
    """How probable each other player is as a culprit: its share among the culprit sets that fit what was seen."""
    brief, me = request.brief, request.brief.me.name
    seen = [f for e in request.events if e.clue for f in e.clue.facts]
    sets = [c for c in suspects(brief, (*brief.given, *seen, *brief.me.knows)) if me not in c]
    share = Counter(n for c in sets for n in c)
    return {n: share[n] / max(len(sets), 1) for n in brief.names if n != me}


def _accusations(request: Any) -> Counter[str]:
    """How often each other player was accused aloud, as far as this one has heard."""
    brief = request.brief
    others = [n for n in brief.names if n != brief.me.name]
    charges = {n: brief.book.suspect.format(name=n) for n in others}
    return Counter(n for e in request.events if e.text for n in others if charges[n] in e.text)


def _best(guilt: Mapping[str, float], accused: Counter[str], rng: random.Random) -> str:
    """The likeliest culprit; talk decides between equals, then chance."""
    return max(guilt, key=lambda n: (guilt[n], accused[n], rng.random()))


def _scapegoat(request: Any) -> str:
    """The innocent who is easiest to accuse: by evidence, by talk, then one and the same for the whole game."""
    brief, guilt, accused = request.brief, suspicion(request), _accusations(request)
    innocent = [n for n in guilt if n not in brief.partners]
    taste = request.rng("scapegoat").sample(innocent, len(innocent))
    return max(taste, key=lambda n: (guilt[n], accused[n]))


def _freshest(request: Any, rng: random.Random) -> str:
    """A place that was searched as rarely as any."""
    searched = Counter(e.place for e in request.events if e.kind == "search")
    return min(request.prompt.places, key=lambda p: (searched[p], rng.random()))


def _testimony(request: Any) -> list[str]:
    """What a civilian can tell: facts of its own, and clues that it alone has seen."""
    book, own = request.brief.book, request.brief.me.knows
    secret = [e.clue.text for e in request.events if e.clue and e.clue.private_to]
    return [book.fact.format(**dict(f)) for f in own] + secret


def _rating(guilt: float) -> tuple[int, int]:
    """Suspicion and trust that say a probability."""
    s = 0 if guilt == 0 else 2 if guilt > 1 / 2 else 1
    return s, 2 - s


STYLES = {"skilled": _skilled, "naive": _naive, "random": _anything}
