"""Mysteries without end: a seed and a few knobs make a script that is consistent and can be solved.

The crime has a profile: what the culprit had, wore, and where the culprit was. Everybody knows it, and it is true of
culprits only. Evidence says such things of characters: it matches the profile (guilt) or contradicts it (an alibi).
Special rules make the world lie: of a culprit only a false value is ever seen, and a sign, held by culprits
alone, says through its rule what is so.

What is so is drawn in `plots`, where moving one knob leaves alone what need not move; registers and languages tell the
same plot in other words. MIRAGE has eight scripts and no such knobs.

Taught in notebook 01.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from maro_lib.wording import counted
from maro_lib.world.phrases import STORY_BOOKS, story_words, texts
from maro_lib.world.plots import N_VALUES, SIGN, TRAITS, Lead, Link, Mark, Plot
from maro_lib.world.scripts import (
    CULPRIT,
    Character,
    Clue,
    Ending,
    Fact,
    Faction,
    Goal,
    Script,
    Sections,
    SpecialRule,
    Stage,
    Truth,
)

LANGUAGES = ("en", "zh")
N_NAMES = 24
MAX = {"stages": 4, "special_rules": len(TRAITS), "characters": 12, "places": N_VALUES["spot"], "clues": 24,
       "red_herrings": 24}  # fmt: skip
MIN = {"stages": 1, "special_rules": 0, "characters": 3, "culprits": 1, "places": 1, "clues": 1, "red_herrings": 0,
       "private_clues": 0}  # fmt: skip
STRIDE = 5  # from one stage to the next, so that nobody is told the same twice
SERIES = 1_000_000  # seeds that `generate_many` keeps for each of its own


@dataclass(frozen=True)
class Knobs:
    """What a mystery is like; each can be moved alone, within bounds that an error names."""

    stages: int = 1
    special_rules: int = 0
    ending: Literal["closed", "open"] = "closed"
    characters: int = 6
    culprits: int = 1
    places: int = 4
    clues: int = 6  # those that carry evidence
    red_herrings: int = 3
    private_clues: int = 1  # how many, of evidence and red herrings, are private to one character
    register: Literal["compact", "prose"] = "compact"
    language: Literal["en", "zh"] = "en"  # Chinese is told in prose

    def __post_init__(self) -> None:
        if problems := list(_problems(self)):
            raise ValueError("\n".join(problems))

    @property
    def n_guilt(self) -> int:
        """How many pieces of evidence are about a culprit: 60 %, or as many as it takes."""
        return max(_n_needed(self), round(0.6 * self.clues))

    @property
    def cell(self) -> str:
        return f"{'SM'[self.stages > 1]}{'OU'[self.special_rules > 0]}{'CO'[self.ending == 'open']}"


def generate(seed: int, knobs: Knobs | None = None) -> Script:
    """Make the mystery of one seed."""
    return _Teller(Plot(seed, knobs or Knobs())).script()


def generate_many(n: int, seed: int, knobs: Knobs | None = None) -> list[Script]:
    """Make `n` mysteries; two different seeds share none."""
    if not 0 <= n <= SERIES:
        raise ValueError(f"generate_many: n={n}; 0 to {SERIES:,} are possible, take another seed for more")
    return [generate(seed * SERIES + i, knobs) for i in range(n)]


def vocabulary() -> list[str]:
    """Every word that a compact script can show a player, as it is spelt there."""
    shown = story_words("en", "compact").model_dump(exclude={"first", "later"})  # these hold keys, not words
    without_braces = (re.sub(r"{\w+}", " ", text) for text in texts(shown))
    return sorted({word for text in without_braces for word in re.findall(r"[A-Za-z]+", text)})


def _n_needed(knobs: Knobs) -> int:
    """Least evidence about culprits: each of them once; in a lying world, each rule with what it corrects."""
    return 2 * max(knobs.culprits, knobs.special_rules) if knobs.special_rules else knobs.culprits


def _problems(k: Knobs) -> Iterator[str]:
    """Yield what can't be made, with the bound and the way out."""
    if wrong := list(_wrong_values(k)):
        yield from wrong
        return
    if (k.language, k.register) not in STORY_BOOKS:
        yield f"register: {k.register!r} is the embedded model's English; take 'prose' with language {k.language!r}"
    yield from _out_of_bounds(k)
    if k.clues < (need := _n_needed(k)):
        of = f"{counted(k.culprits, 'culprit')} under {counted(k.special_rules, 'special rule')}"
        yield f"clues: {k.clues} can't prove {of}; take {need} or more clues, or fewer culprits or rules"
    if (n := k.clues + k.red_herrings) < k.stages:
        yield f"stages: {k.stages}, but there are {n} clues and red herrings to spread over them; take more of these"


def _wrong_values(k: Knobs) -> Iterator[str]:
    two = {"ending": ("closed", "open"), "register": ("compact", "prose"), "language": LANGUAGES}
    for name, (a, b) in two.items():
        if getattr(k, name) not in (a, b):
            yield f"{name}: {getattr(k, name)!r}; choose {a!r} or {b!r}"
    for name in MIN:
        if isinstance(value := getattr(k, name), bool) or not isinstance(value, int):
            yield f"{name}: {value!r}; take a whole number"


def _out_of_bounds(k: Knobs) -> Iterator[str]:
    n = k.clues + k.red_herrings
    top = MAX | {"culprits": (k.characters - 1) // 2, "places": min(MAX["places"], n), "private_clues": n}
    for name, low in MIN.items():
        value = getattr(k, name)
        if value < low:
            yield f"{name}: {value} is too few; take {low} or more"
        elif value > top[name]:
            yield f"{name}: {value} is too many; take {top[name]} or fewer{_way_out(name, top[name])}"


def _way_out(name: str, top: int) -> str:
    if top == MAX.get(name):
        return ""
    more = {"culprits": "more characters (civilians must be the majority)"}.get(name, "more clues or red herrings")
    return f", or {more}"


class _Teller:
    """Tells a plot in the words of its register."""

    def __init__(self, plot: Plot):
        self.plot, self.draws, self.knobs = plot, plot.draws, plot.knobs
        self.words = story_words(self.knobs.language, self.knobs.register)
        self._ranks: dict[str, list[int]] = {}
        k = self.draws.one_of("setting", range(len(self.words.settings)))
        self.places, setting = self.words.places[k], self.words.settings[k]
        self.names = self._names()
        self.public = {**setting, **self._values(plot.profile.items())}
        self._publish()

    def script(self) -> Script:
        """Put everything together."""
        plot = self.plot
        leads = {c.id: c for c in plot.leads}
        return Script(
            title=self._title(),
            cell=self.knobs.cell,
            language=self.knobs.language,
            register=self.knobs.register,
            background=self._say("background"),
            stages=tuple(self._stage(k) for k in range(1, self.knobs.stages + 1)),
            rules=tuple(self._rule(link) for link in plot.links),
            given=tuple(self._fact(CULPRIT, t, v) for t, v in plot.profile.items()),
            unique=tuple(self.words.traits[t] for t in TRAITS),
            characters=tuple(self._character(i) for i in plot.seats),
            clues=tuple(self._clue(leads[i]) for i in self.draws.rank("order", list(leads))),
            endings=tuple(self._endings()),
            truth=Truth(culprits=self._culprits(), text=self._say("truth")),
        )

    # --- choosing words ------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        first = self.draws.rank("names", range(N_NAMES))[: self.knobs.characters]
        last = self.draws.rank("surnames", range(N_NAMES))
        names, surnames, full = self.words.names, self.words.surnames or [""] * N_NAMES, self.words.full_name
        return [full.format(first=names[i], last=surnames[j]) for i, j in zip(first, last, strict=False)]

    def _publish(self) -> None:
        """Settle what every sentence may mention."""
        self.public["victim"] = self.draws.one_of("victim", self.words.victims)
        self.public["time"] = self._say("time")
        self.public["occasion"] = self._say("occasion")
        self.public["death"] = self._say(f"death/{self.plot.profile['weapon']}")
        self.public["killer"] = self._say("killer_many" if self.knobs.culprits > 1 else "killer_one")
        self.public["killers"] = self._join(self._culprits())

    def _say(self, key: str, position: int = 0, purpose: str = "", **context: str) -> str:
        """Say one thing in one of its ways; other positions get other ways, as long as there are any."""
        options = self.words.phrases.get(key, ("",))
        rank = self._rank(purpose or key, len(options))
        return options[rank[position % len(options)]].format(**{**self.public, **context})

    def _rank(self, purpose: str, n: int) -> Sequence[int]:
        if n == 1:
            return (0,)
        if purpose not in self._ranks:
            self._ranks[purpose] = self.draws.rank(f"words/{purpose}", range(n))
        return self._ranks[purpose]

    def _join(self, names: Sequence[str]) -> str:
        return self._say("and").join(names)

    def _value(self, trait: str, value: int) -> str:
        return self.places[value] if trait == "spot" else self.words.values[trait][value]

    def _values(self, marks: Iterable[tuple[str, int]]) -> dict[str, str]:
        """What a sentence may say of somebody: each trait's value, and why an innocent has it."""
        words = {}
        for trait, value in marks:
            words[trait] = self._value(trait, value)
            words[f"{trait}_why"] = self.words.why[trait][value] if trait in self.words.why else ""
        return words

    def _fact(self, who: str, trait: str, value: int) -> Fact:
        return Fact(who=who, trait=self.words.traits[trait], value=self._value(trait, value))

    def _mark(self, mark: Mark) -> Fact:
        return self._fact(self.names[mark.who], mark.trait, mark.value)

    def _culprits(self) -> tuple[str, ...]:
        return tuple(self.names[i] for i in sorted(self.plot.culprits))

    # --- the public side -----------------------------------------------------------------------------

    def _title(self) -> str:
        """Name the seed, and each knob that is not where it stands by default."""
        moved = [f.name for f in fields(Knobs)
                 if f.name not in ("register", "language") and getattr(self.knobs, f.name) != f.default]  # fmt: skip
        told = [f"{self._called(name.replace('_', ' '))} {self._called(getattr(self.knobs, name))}" for name in moved]
        return self.words.comma.join([f"{self._say('title')} {self.plot.seed}", *told])

    def _called(self, knob: str | int) -> str:
        """How a title calls a knob, or its value."""
        return self.words.knobs.get(str(knob), str(knob))

    def _stage(self, k: int) -> Stage:
        if self.knobs.stages == 1:
            return Stage()
        narration = self._say("narration", k - 2) if k > 1 else self._say("narration_first")
        return Stage(name=self._say(f"stage/{k}"), narration=narration)

    def _rule(self, link: Link) -> SpecialRule:
        traits, sign = self.words.traits, self._value(SIGN, link.sign)
        then = {traits[link.trait]: self._value(link.trait, self.plot.profile[link.trait])}
        return SpecialRule(text=self._say(f"rule/{link.trait}", sign=sign), when={traits[SIGN]: sign}, then=then)

    def _clue(self, lead: Lead) -> Clue:
        owner = self.plot.owner_of.get(lead.id)
        return Clue(
            id=lead.id,
            text=self._tell(lead),
            place=self.places[self.plot.place_of[lead.id]],
            stage=self.plot.stage_of[lead.id],
            private_to="" if owner is None else self.names[owner],
            facts=(self._mark(lead.mark),) if lead.mark else (),
        )

    def _tell(self, lead: Lead) -> str:
        if not lead.mark:
            return self._say(f"herring/{lead.kind}", lead.variant, **self._gossip(lead))
        who, trait, value = lead.mark
        source = self.words.sources[lead.variant % len(self.words.sources)]
        context = {"who": self.names[who], "value": self._value(trait, value), "source": source}
        return self._say(f"clue/{trait}", lead.variant, f"clue/{trait}/{who}", **context)

    def _gossip(self, lead: Lead) -> dict[str, str]:
        who = self.names[lead.about] if lead.about is not None else ""
        return {"who": who, "other": self.names[lead.other], "thing": self._say(f"thing/{lead.kind}", lead.variant)}

    def _endings(self) -> Iterator[Ending]:
        yield Ending(when="caught", text=self._say("caught"))
        for i in self.plot.keepers:
            yield Ending(when="accused", who=self.names[i], text=self._say("blamed", name=self.names[i]))
        if self.knobs.ending == "open":
            yield Ending(when="tie", text=self._say("no_majority"))
        yield Ending(when="escaped", text=self._say("escaped"))

    # --- one character -------------------------------------------------------------------------------

    def _character(self, i: int) -> Character:
        plot = self.plot
        sight = plot.sight(i)
        return Character(
            name=self.names[i],
            faction=self._faction(i),
            sections=tuple(self._sections(i, k) for k in range(1, self.knobs.stages + 1)),
            goals=tuple(self._goals(i)),
            knows=tuple(self._mark(m) for m in (*plot.truths(i), *((sight,) if sight else ()))),
        )

    def _faction(self, i: int) -> Faction:
        return "culprit" if i in self.plot.culprits else "civilian"

    def _sections(self, i: int, stage: int) -> Sections:
        layout = (self.words.first if stage == 1 else self.words.later)[self._faction(i)]
        context = self._context(i, stage)
        texts_of = {
            section: self.words.gap.join(line for key in keys for line in self._lines(key, i, stage, context))
            for section, keys in layout.items()
        }
        return Sections(**texts_of)

    def _context(self, i: int, stage: int) -> dict[str, str]:
        """What this character's sentences may mention; each stage turns to other people."""
        others = [self.names[k] for k in self.plot.others(i)]
        own = self._values((m.trait, m.value) for m in self.plot.truths(i))
        return own | {
            "name": self.names[i],
            "other": others[(stage - 1) % len(others)],
            "another": others[stage % len(others)],
            "secret": self._say("secret", i),
            "partners": self._join([n for n in self._culprits() if n != self.names[i]]),
        }

    def _lines(self, key: str, i: int, stage: int, context: dict[str, str]) -> Iterator[str]:
        """Say what a key stands for: one sentence or paragraph, or as many as there is reason for."""
        special = {"saw": self._sights, "held": self._signs, "rumour": self._rumours}
        needless = {"together": self.knobs.culprits == 1, "keeps": i not in self.plot.keepers}
        if key in special:
            yield from special[key](i)
        elif not needless.get(key):
            yield self._say(key, i + STRIDE * (stage - 1), **context)

    def _sights(self, i: int) -> Iterator[str]:
        if mark := self.plot.sight(i):
            value = self._value(mark.trait, mark.value)
            yield self._say("saw", i, sight=self._say(f"sight/{mark.trait}", who=self.names[mark.who], value=value))

    def _signs(self, i: int) -> Iterator[str]:
        """A culprit's signs, and what the others see because of each."""
        for k, link in enumerate(self.plot.links):
            yield self._say("held", k, sign=self._value(SIGN, link.sign))
            yield self._say(f"decoy/{link.trait}", value=self._value(*self.plot.seen(i, link.trait)[1:]))

    def _rumours(self, i: int) -> Iterator[str]:
        """The harmless truth behind red herrings, for those whom they name."""
        for lead in self.plot.leads:
            if lead.about is not None and not lead.mark and i in (lead.about, lead.other):
                side = "rumour" if i == lead.about else "rumour_with"
                if text := self._say(f"{side}/{lead.kind}", **self._gossip(lead)):
                    yield text

    def _goals(self, i: int) -> Iterator[Goal]:
        """With an open ending: culprits save themselves too, and keepers of a secret have it to hide."""
        guilty, keepers = i in self.plot.culprits, self.plot.keepers
        if self.knobs.ending == "closed" or not (guilty or i in keepers):
            return
        yield Goal(text=self._say("goal_escape" if guilty else "goal_find"))
        if lead := keepers.get(i):
            yield Goal(text=self._say("goal_hide", clue=self._tell(lead)), check="clue_hidden", of=lead.id)
        else:
            yield Goal(text=self._say("goal_clear"), check="not_accused")
