"""A mystery's replies as forms: what a person at the table picks or fills in, and how that reads as a reply.

Taught in notebook 13. A model writes its reply; a person need not know the spelling.
"""

from __future__ import annotations

from collections.abc import Mapping

from maro_lib.world.phrases import Phrasebook
from maro_lib.world.protocol import Blank, Form, Prompt

LEVELS = {"suspicion": ("0", "1", "2"), "trust": ("0", "1", "2")}


def reply_forms(prompt: Prompt, book: Phrasebook) -> tuple[Form, ...]:
    """Every way in which a prompt may be answered."""
    match prompt.phase:
        case "turn":
            return (_ask(prompt, book), _search(prompt, book)) if prompt.places else (_ask(prompt, book),)
        case "rate":
            return (_rate(prompt, book),)
        case "vote":
            return (Form("vote", (Blank("for", prompt.names),), lambda v: book.voted.format(name=v["for"])),)
    return (Form("say", (Blank("words"),), lambda v: v["words"]),)


def _ask(prompt: Prompt, book: Phrasebook) -> Form:
    blanks = Blank("whom", prompt.names), Blank("question")
    return Form("ask", blanks, lambda v: book.ask.format(name=v["whom"], text=v["question"]))


def _search(prompt: Prompt, book: Phrasebook) -> Form:
    return Form("search", (Blank("where", prompt.places),), lambda v: book.search.format(place=v["where"]))


def _rate(prompt: Prompt, book: Phrasebook) -> Form:
    blanks = tuple(Blank(_of(name, level), values) for name in prompt.names for level, values in LEVELS.items())

    def say(values: Mapping[str, str]) -> str:
        return book.rate_all({n: tuple(int(values[_of(n, level)]) for level in LEVELS) for n in prompt.names})

    return Form("rate", blanks, say)


def _of(name: str, level: str) -> str:
    return f"{name}: {level}"
