"""What is so in one mystery, by seats and numbers, before it has words.

Every choice is the option with the smallest hash of (seed, purpose, option), or a hash's place in a fixed list. So
a choice depends on nothing but its purpose and its options, and moving one knob leaves alone what need not move.
`generator` tells a plot in the words of its register. Taught in notebook 01.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import count, islice, product
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from maro_lib.world.generator import Knobs

T = TypeVar("T", bound=Hashable)
TRAITS = ("weapon", "garment", "spot")  # the profile
SIGN = "sign"
N_VALUES = {"weapon": 8, "garment": 8, "spot": 12, SIGN: 6}
N_VARIANTS = 7  # ways to come to know the same fact; 24 clues under 1 rule need as many
N_NAMING, N_HERRINGS = 5, 8  # kinds of red herring: those that name somebody, and all


class Draws:
    """The random choices of one seed."""

    def __init__(self, seed: int):
        self._start = blake2b(f"{seed}/".encode(), digest_size=8)

    def number(self, *purpose: Hashable) -> int:
        hashed = self._start.copy()
        hashed.update("/".join(map(str, purpose)).encode())
        return int.from_bytes(hashed.digest(), "big")

    def rank(self, purpose: str, options: Sequence[T]) -> list[T]:
        """Order options at random; one more or fewer does not change the order of the rest."""
        return sorted(options, key=lambda o: self.number(purpose, o))

    def pick(self, purpose: str, options: Sequence[T]) -> T:
        """Choose one; another option more or fewer seldom changes the choice."""
        return min(options, key=lambda o: self.number(purpose, o))

    def one_of(self, purpose: str, fixed: Sequence[T]) -> T:
        """Choose one of a list that never changes."""
        return fixed[self.number(purpose) % len(fixed)]

    def spread(self, purpose: str, ids: Sequence[str], n: int) -> dict[str, int]:
        """Give each id one of `n` bins, none of which stays empty."""
        bins = {i: self.pick(f"{purpose}/{i}", range(n)) for i in ids}
        for empty in sorted(set(range(n)) - set(bins.values())):
            size = Counter(bins.values())
            crowded = [i for i in ids if size[bins[i]] > 1]
            bins[self.pick(f"{purpose}/{empty}", crowded)] = empty
        return bins


class Mark(NamedTuple):
    """A fact before it has words: the character at seat `who` has a trait's n-th value."""

    who: int
    trait: str
    value: int


class Link(NamedTuple):
    """A special rule: whoever holds this sign has, in truth, the profile's value of this trait."""

    trait: str
    sign: int


class Lead(NamedTuple):
    """A clue before it has words."""

    id: str
    variant: int  # which of the ways to tell it
    mark: Mark | None = None  # evidence
    kind: int = 0  # which red herring, when there is no evidence
    about: int | None = None  # whom it names
    other: int = 0


class Plot:
    """What is so in one mystery, by seats and numbers; registers give it words."""

    def __init__(self, seed: int, knobs: Knobs):
        self.seed, self.knobs, self.draws = seed, knobs, Draws(seed)
        self.seats = range(knobs.characters)
        self.culprits = self.draws.rank("culprits", self.seats)[: knobs.culprits]
        self.civilians = [i for i in self.seats if i not in self.culprits]
        self.spots = self.draws.rank("places", range(N_VALUES["spot"]))
        self.profile = {t: self.draws.one_of(f"profile/{t}", range(N_VALUES[t])) for t in TRAITS}
        self.profile["spot"] = self.spots[0]
        traits = self.draws.rank("rules", TRAITS)
        signs = self.draws.rank("signs", range(N_VALUES[SIGN]))
        self.links = [Link(*pair) for pair in zip(traits, signs, strict=False)][: knobs.special_rules]

    def seen(self, who: int, trait: str) -> Mark:
        """What eyes see of anybody innocent, and of a culprit where the world lies: never the profile."""
        shift = self.draws.one_of(f"seen/{who}/{trait}", range(1, N_VALUES[trait]))
        return Mark(who, trait, (self.profile[trait] + shift) % N_VALUES[trait])

    def truths(self, who: int) -> list[Mark]:
        """What is so of one character, and known to it."""
        if who not in self.culprits:
            return [self.seen(who, t) for t in TRAITS]
        return [*(Mark(who, t, self.profile[t]) for t in TRAITS), *self.signs(who)]

    def signs(self, who: int) -> list[Mark]:
        return [Mark(who, SIGN, link.sign) for link in self.links] if who in self.culprits else []

    def sight(self, who: int) -> Mark | None:
        """What a civilian saw of another, if anything: a true thing, so in a lying world a culprit's sign."""
        if who in self.culprits or self.draws.number(f"witness/{who}") % 2:
            return None
        whom = self.others(who)[-1]
        return self.draws.pick(f"sight/{who}", self.signs(whom) or self.truths(whom))

    def others(self, who: int) -> list[int]:
        return self.draws.rank(f"others/{who}", [i for i in self.seats if i != who])

    @cached_property
    def leads(self) -> list[Lead]:
        guilt = self._guilt_in_a_lying_world() if self.links else self._guilt()
        n = self.knobs.n_guilt
        marks = [*islice(guilt, n), *islice(self._alibis(), self.knobs.clues - n)]
        return [*_as_leads(marks), *islice(self._herrings(), self.knobs.red_herrings)]

    def _guilt(self) -> Iterator[Mark]:
        traits = self.draws.rank("guilt", TRAITS)
        for _, trait, who in product(range(N_VARIANTS), traits, self.culprits):
            yield Mark(who, trait, self.profile[trait])

    def _guilt_in_a_lying_world(self) -> Iterator[Mark]:
        """In turn: a culprit's sign, and the false value that this sign's rule corrects."""
        n = max(len(self.culprits), len(self.links))
        for i in count():
            who, link = self.culprits[i % len(self.culprits)], self.links[(i + i // n) % len(self.links)]
            yield Mark(who, SIGN, link.sign)
            yield self.seen(who, link.trait)

    def _alibis(self) -> Iterator[Mark]:
        civilians = self.draws.rank("alibis", self.civilians)
        traits = {who: self.draws.rank(f"alibis/{who}", TRAITS) for who in civilians}
        for _, k, who in product(range(N_VARIANTS), range(len(TRAITS)), civilians):
            yield self.seen(who, traits[who][k])

    def _herrings(self) -> Iterator[Lead]:
        kinds = self.draws.rank("herrings", range(N_HERRINGS))
        for i in count():
            turn, kind = i // N_HERRINGS, kinds[i % N_HERRINGS]
            who = self.draws.rank(f"herrings/{kind}", self.seats)
            about, other = who[turn % len(who)], who[(turn + 1) % len(who)]
            yield Lead(f"herring-{i + 1}", turn, None, kind, about if kind < N_NAMING else None, other)

    @cached_property
    def place_of(self) -> dict[str, int]:
        bins = self.draws.spread("place", [c.id for c in self.leads], self.knobs.places)
        return {i: self.spots[k] for i, k in bins.items()}

    @cached_property
    def stage_of(self) -> dict[str, int]:
        bins = self.draws.spread("stage", [c.id for c in self.leads], self.knobs.stages)
        return {i: k + 1 for i, k in bins.items()}

    @cached_property
    def owner_of(self) -> dict[str, int]:
        """Who alone can find a private clue: nobody whom it names, and no culprit where it is about a culprit."""
        private = self.draws.rank("private", [c.id for c in self.leads])[: self.knobs.private_clues]
        return {c.id: self.draws.pick(f"owner/{c.id}", self._owners(c)) for c in self.leads if c.id in private}

    def _owners(self, lead: Lead) -> list[int]:
        telling = lead.mark is not None and lead.about in self.culprits
        return [i for i in (self.civilians if telling else self.seats) if i != lead.about]

    @cached_property
    def keepers(self) -> dict[int, Lead | None]:
        """With an open ending, who has a secret: seat -> the clue that must stay hidden, if any names it."""
        if self.knobs.ending == "closed":
            return {}
        seats = self.draws.rank("keepers", self.civilians)[: max(1, len(self.civilians) // 2)]
        return {i: self._hidden(i) for i in seats}

    def _hidden(self, who: int) -> Lead | None:
        named = {c.id: c for c in self.leads if c.about == who}
        return named[self.draws.pick(f"hidden/{who}", list(named))] if named else None


def _as_leads(marks: Sequence[Mark]) -> Iterator[Lead]:
    """Number the clues that say the same, so that each says it in its own way."""
    seen: Counter[Mark] = Counter()
    for mark in marks:
        sign = f"-{mark.value}" if mark.trait == SIGN else ""
        yield Lead(f"seat{mark.who + 1}-{mark.trait}{sign}-{seen[mark] + 1}", seen[mark], mark, about=mark.who)
        seen[mark] += 1
