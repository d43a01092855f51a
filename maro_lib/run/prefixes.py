"""What trials share: stages whose values agree, and whose stages before them agree too, are made once.

    trial 1   00 01 02 03 04 05 06        shared   00 01 02 03        made once
    trial 2   00 01 02 03 04 05 06   ->     trial 1          04 05 06  goes on from it
                          |                 trial 2          04 05 06
                          the first that differs

A trial is a chain of stages, each with the values that it is asked for with. Chains with a common beginning make a
tree; each of its branches is a run of its own, which takes the stages before it over from its parent
(`maro_lib.run.takeover`). Nothing here reads or writes anything. Used by `maro_lib.run.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from maro_lib.fingerprints import text_digest


class Asked(NamedTuple):
    """A stage, and what it is asked for with."""

    number: str  # 02, or round_2/02
    values: str = ""


Chain = tuple[Asked, ...]


@dataclass(frozen=True)
class Branch:
    """A run: a trial, or what several trials share."""

    name: str
    stages: tuple[str, ...]  # the numbers of all its stages, those of its parent first
    parent: str  # whose stages it takes over; empty: nobody's
    own: tuple[str, ...]  # the stages that it makes itself
    trials: tuple[str, ...]  # those that it is made for

    @property
    def is_trial(self) -> bool:
        return self.trials == (self.name,)


def branches(chains: Mapping[str, Chain]) -> tuple[Branch, ...]:
    """Return the runs that make all trials, a parent before its children; `chains` are the trials' stages by name."""
    return tuple(_grown([*chains.items()], 0, ""))


def _grown(trials: Sequence[tuple[str, Chain]], n_before: int, parent: str) -> Iterator[Branch]:
    """Yield the branches of trials that share their first stages, which their parent makes."""
    for group in _groups(trials, n_before):
        names = tuple(name for name, _ in group)
        if len(group) == 1:
            yield _branch(names[0], group[0][1], n_before, parent, names)
        else:
            shared = _common([chain for _, chain in group])
            branch = _branch(_called(shared), shared, n_before, parent, names)
            yield branch
            yield from _grown(group, len(shared), branch.name)


def _groups(trials: Sequence[tuple[str, Chain]], n: int) -> list[list[tuple[str, Chain]]]:
    """Put trials together that agree in the stage after the first n; one that ends there stands alone."""
    groups: dict[object, list[tuple[str, Chain]]] = {}
    for name, chain in trials:
        groups.setdefault(chain[n] if n < len(chain) else name, []).append((name, chain))
    return [*groups.values()]


def _common(chains: Sequence[Chain]) -> Chain:
    """Return the stages with which all of some chains begin."""
    n = 0
    while all(n < len(chain) for chain in chains) and len({chain[n] for chain in chains}) == 1:
        n += 1
    return chains[0][:n]


def _branch(name: str, chain: Chain, n_before: int, parent: str, trials: tuple[str, ...]) -> Branch:
    numbers = tuple(asked.number for asked in chain)
    return Branch(name, numbers, parent, numbers[n_before:], trials)


def _called(shared: Chain) -> str:
    """Name what is shared by its last stage and by all that decides it: a file that grows finds it again."""
    last = shared[-1].number.replace("/", "-")
    return f"shared-{last}-{text_digest([f'{asked.number} {asked.values}' for asked in shared])[:8]}"
