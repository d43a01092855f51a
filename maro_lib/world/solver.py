"""Who could have done it: enumerate every possible set of culprits and keep those that fit the facts.

A set C of culprits fits when, for each trait that the culprit is known to have, nobody in C is known to
have another value, and, for a `unique` trait, everybody known to have the culprit's value is in C. Special
rules come first: they replace what a clue says of a character by what is so in that world.

Taught in notebook 01.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from maro_lib.world.scripts import CULPRIT, Fact, Script

Known = dict[str, dict[str, set[str]]]  # who -> trait -> values


def clue_facts(script: Script) -> list[Fact]:
    """The facts that everyone is given and those on the clues: what a fair case must be solvable from."""
    return [*script.given, *(f for clue in script.clues for f in clue.facts)]


def know(script: Script, facts: Iterable[Fact]) -> Known:
    """Collect facts per character and let the special rules overrule them, until nothing changes."""
    known: Known = {}
    for f in facts:
        known.setdefault(f.who, {}).setdefault(f.trait, set()).add(f.value)
    for _ in script.rules:
        for rule in script.rules:
            for who, traits in known.items():
                if who != CULPRIT and rule.when and all(v in traits.get(k, ()) for k, v in rule.when.items()):
                    traits.update({k: {v} for k, v in rule.then.items()})
    return known


def suspects(script: Script, facts: Iterable[Fact]) -> list[tuple[str, ...]]:
    """Every set of culprits, of the right size, that fits the facts."""
    known = know(script, facts)
    profile = known.get(CULPRIT, {})
    cleared = {n for n in script.names if any(_differs(known, n, k, v) for k, v in profile.items())}
    caught = {n for k in script.unique for v in profile.get(k, ()) for n in script.names
              if v in known.get(n, {}).get(k, ())}  # fmt: skip
    possible = [n for n in script.names if n not in cleared]
    sets = combinations(possible, script.n_culprits)
    return [c for c in sets if caught <= set(c)]


def is_solvable(script: Script) -> bool:
    """True when the clues leave exactly the true culprits."""
    return [set(c) for c in suspects(script, clue_facts(script))] == [set(script.culprits)]


def has_logic(script: Script) -> bool:
    """True when the script carries facts, so that the solver can say anything at all."""
    return bool(clue_facts(script))


def _differs(known: Known, who: str, trait: str, values: set[str]) -> bool:
    has = known.get(who, {}).get(trait)
    return bool(has) and not has & values
