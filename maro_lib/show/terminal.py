"""A seat in a terminal: what a person sees, and the questions that make up a reply.

Several people at one machine take turns: the screen is cleared between them. What a model wrote is shown without
control signs, so it can't write elsewhere on the screen. Taught in notebook 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from maro_lib.markup import visible
from maro_lib.play.sitting import Sitting
from maro_lib.runs import shown, write_atomic
from maro_lib.show.debrief import debrief, outcome
from maro_lib.show.table import Table
from maro_lib.wording import wrapped
from maro_lib.world.protocol import Blank, Form, Message

CLEAR = "\033[2J\033[3J\033[H"  # the screen, what was scrolled away, and the cursor to the top
HELP = (
    "Answer with a number or a name. back, or an empty line: choose again what to do. "
    "/all: everything you know. /quit: leave; the game is kept. /help: this."
)
BACK = "back"
MANY = 12  # numbers to choose from, of which only the ends are listed
Ask, Tell = Callable[[str], str], Callable[[str], None]
Asking = Callable[[str, Callable[[str], str]], str]  # a question, and what is wrong with an answer


class Left(Exception):
    """The person has left the table; the game is kept."""


class Reconsidered(Exception):
    """The person wants to choose again; nothing was sent."""


def play_in_terminal(table: Table, ask: Ask, tell: Tell) -> int:
    """Play one game of a table, and tell how it went; a game that is left is kept."""
    with table.laid() as sitting:
        tell(f"{sitting.game.script.title}. {HELP}\n")
        if not play_sitting(sitting, ask, tell):
            tell("\nThe game is kept: the same command goes on with it.")
            return 0
        for seat in sitting.people:
            tell(_outcome(sitting, seat))
        tell(f"The whole game, and what each move was worth: {_saved_debrief(sitting)}")
    return 0


def play_sitting(sitting: Sitting, ask: Ask, tell: Tell) -> bool:
    """Play until the game is over; return False if somebody left before."""
    try:
        sitting.go_on()
        while sitting.awaited:
            _turn(sitting, sitting.awaited[0], ask, tell)
    except (Left, EOFError, KeyboardInterrupt):
        return False
    finally:
        tell(CLEAR if len(sitting.people) > 1 else "")  # whoever comes next sees nobody's secrets
    return True


def _outcome(sitting: Sitting, seat: int) -> str:
    return f"{sitting.people[seat]}: {visible(outcome(sitting, seat))}"


def _saved_debrief(sitting: Sitting) -> str:
    """Write a page for each person's seat; return where."""
    pages = [sitting.folder / f"seat_{seat}.html" for seat in sitting.people]
    for seat, page in zip(sitting.people, pages, strict=True):
        write_atomic(page, debrief(sitting, seat).page())
    return ", ".join(shown(page) for page in pages)


def _turn(sitting: Sitting, seat: int, ask: Ask, tell: Tell) -> None:
    """Have one person reply."""
    me = f"{sitting.people[seat]} ({sitting.game.script.names[seat]})"
    if len(sitting.people) > 1:
        ask(f"{me}, it is your turn. When nobody else can see the screen, press Enter. ")
    for message in _news(sitting.view(seat)):
        tell(on_screen(message))
    while why := sitting.say(seat, _reply(sitting, seat, ask, tell)):
        tell(on_screen(Message("user", why)))
    if len(sitting.people) > 1:
        tell(CLEAR)


def _news(view: Sequence[Message]) -> Sequence[Message]:
    """What was shown since the last reply."""
    last = max((k for k, m in enumerate(view) if m.role == "assistant"), default=-1)
    return view[last + 1 :]


def on_screen(message: Message) -> str:
    """A message as it is printed, without control signs."""
    before = {"system": "Only you read this.\n\n", "assistant": "You: "}.get(message.role, "")
    return before + wrapped(visible(message.content), 88) + "\n"


def _reply(sitting: Sitting, seat: int, ask: Ask, tell: Tell) -> str:
    """Ask which form, then for what it leaves open; until all is said the person may go back to the choice."""

    def asked(question: str, refused: Callable[[str], str], back: Sequence[str] = ()) -> str:
        while True:
            word = ask(question).strip()
            if word == "/quit":
                raise Left
            why = refused(word)
            if word.casefold() in back and (word or why):
                raise Reconsidered
            if word == "/all":
                tell("\n".join(map(on_screen, sitting.view(seat))))
            elif word.startswith("/"):
                tell(HELP if word == "/help" else f"{word}: no such command. {HELP}")
            elif why:
                tell(why)
            else:
                return word

    forms = sitting.forms(seat)
    while True:
        form = _choice("What do you do", forms, lambda f: f.title, asked)
        try:
            return _said(form, asked, is_choice=len(forms) > 1)
        except Reconsidered:
            continue


def _said(form: Form, asked: Asking, is_choice: bool) -> str:
    """Have a form filled in, and return what it says; one of several that leaves nothing open is asked for twice."""
    first = (BACK, "") if is_choice else ()  # an empty line would undo too much later on
    if is_choice and not form.blanks and _choice(form.title, ("yes", BACK), str, partial(asked, back=first)) == BACK:
        raise Reconsidered
    filled: dict[str, str] = {}
    for blank in form.blanks:
        filled[blank.name] = _filled(form, blank, partial(asked, back=(BACK,) if filled else first))
    return form.say(filled)


def _filled(form: Form, blank: Blank, asked: Asking) -> str:
    if blank.options:
        return _choice(f"{form.title} {blank.name}", blank.options, str, asked)
    needed = "" if len(form.blanks) > 1 else "Say something."  # beside a number, words may be left out
    return asked(f"{form.title}, {blank.name}: ", lambda word: "" if word else needed)


def _choice(what: str, options: Sequence, named: Callable, asked: Asking):
    """Ask for one of several, by its number or its name; the only one is not asked for."""
    if len(options) == 1:
        return options[0]
    names = [named(o) for o in options]
    is_numbers = all(n.isdigit() for n in names)
    numbered = names if is_numbers else [f"{k} {n}" for k, n in enumerate(names, start=1)]
    by_word = {n.casefold(): o for n, o in zip(names, options, strict=True)}
    if numbered is not names:
        by_word |= {str(k): o for k, o in enumerate(options, start=1)}
    shown_options = f"{names[0]} to {names[-1]}" if is_numbers and len(names) > MANY else ", ".join(numbered)
    word = asked(
        f"{what} [{shown_options}]: ", lambda w: "" if w.casefold() in by_word else f"Choose from {shown_options}."
    )
    return by_word[word.casefold()]
