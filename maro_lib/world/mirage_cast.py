"""Who plays in a MIRAGE script, and how its files spell each name: one character may have several names.

`Ichi (Fox)` is also Ichi, and Fox; a name that grows or shrinks between stages stays one character. Taught in
notebook 01.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from maro_lib.world.mirage_files import folded, language_of
from maro_lib.world.replies import spelling


@dataclass
class Cast:
    """Who plays, and how the files spell each name."""

    forms: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> plain form -> as written
    met: list[dict[str, str]] = field(default_factory=list)  # by stage: as written there -> name

    def find(self, word: str) -> str:
        """Whose name this is; nobody's is empty."""
        named = [n for n in self.forms if folded(n) == folded(word)]
        owners = named or [n for n, forms in self.forms.items() if _forms(word).keys() & forms.keys()]
        return owners[0] if len(owners) == 1 else ""

    def find_within(self, text: str) -> str:
        """Who is named in a phrase such as "Memory of Ada": the one with the longest spelling there."""
        pairs = [(form, name) for name, forms in self.forms.items() for form in forms.values()]
        found = spelling(tuple(pairs)).find(unicodedata.normalize("NFKC", text))
        return max(found, key=lambda hit: hit[2] - hit[1])[0] if found else ""

    def aliases(self, name: str) -> list[str]:
        """Spellings that are nobody else's."""
        others = {p for n, forms in self.forms.items() if n != name for p in forms}
        return [form for p, form in self.forms[name].items() if p != folded(name) and p not in others]


def _forms(name: str) -> dict[str, str]:
    whole = unicodedata.normalize("NFKC", name).strip()
    parts = [re.sub(r"\(.*?\)", "", whole), *re.findall(r"\((.*?)\)", whole), *whole.split("/")]
    return {folded(p): p.strip() for p in (*parts, whole) if folded(p)}


def gather_cast(stages: list[dict[str, Any]]) -> Cast:
    """Collect the characters of all stages; one whose name grows or shrinks between stages is one character."""
    cast = Cast()
    for people in stages:
        names = {n: n.strip() for n, value in people.items() if isinstance(value, dict)}
        known = _meet_again(list(names.values()), cast)
        for name in names.values():
            cast.forms.setdefault(known[name], {}).update(_forms(name))
        cast.met.append({spelt: known[name] for spelt, name in names.items()})
    return cast


def _meet_again(names: list[str], cast: Cast) -> dict[str, str]:
    """Pair a stage's names with known characters: by a common spelling, else by common words, if only one fits."""
    known = {n: n for n in names if n in cast.forms}
    for is_like in (_share_a_form, _share_words):
        left = [n for n in names if n not in known]
        free = [k for k in cast.forms if k not in known.values()]
        fits = {n: [k for k in free if is_like(_forms(n), cast.forms[k])] for n in left}
        rivals = Counter(k for found in fits.values() for k in found)
        known |= {n: found[0] for n, found in fits.items() if len(found) == 1 == rivals[found[0]]}
    return {n: known.get(n, n) for n in names}


def _share_a_form(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return bool(mine.keys() & theirs.keys())


def _share_words(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return any(share_all_words(a, b) for a in mine.values() for b in theirs.values())


def share_all_words(one: str, other: str) -> bool:
    """True when one name's words (in Chinese: its characters in a row) are all in the other."""
    short, long = sorted((one.casefold().strip(), other.casefold().strip()), key=len)
    if language_of(long) == "zh":
        return len(short) > 1 and short in long
    return bool(short) and set(short.split()) <= set(long.split())
