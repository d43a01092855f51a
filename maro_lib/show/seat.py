"""A seat in a notebook: a person's own view as a chat, and what may be replied as buttons, lists and lines to fill in.

Everything is reached by the keyboard (Tab, arrows, Space) and takes its colours from JupyterLab's theme. Where a policy
plays for the person, and in a page that runs nothing, the chat is there to read. Taught in notebook 13.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby

import ipywidgets as widgets

from maro_lib.markup import Html, Shown, card, join, prose, tag
from maro_lib.play.policies import Policy
from maro_lib.play.sitting import Sitting, SittingError
from maro_lib.runs import RunError
from maro_lib.show.debrief import RULES, debrief
from maro_lib.show.looks import LOCK
from maro_lib.show.table import Table
from maro_lib.world.phrases import Phrasebook
from maro_lib.world.protocol import Blank, Form, Message

AS_BUTTONS = 12  # options that are buttons
SHORT = 2  # signs of an option: all so short are buttons, longer ones a list
THINKING = "The others move …"
_BUBBLE = "border-radius:8px;padding:4px 10px;margin:6px "
_OWN, _SEEN, _SECRET = (
    f"{_BUBBLE}{margin};background:rgba({colour})"
    for margin, colour in (("0 6px 18%", "0,114,178,0.14"), ("18% 6px 0", "128,128,128,0.14"), ("0", "138,99,184,0.16"))
)
_LINES = "max-height:460px;overflow:auto;display:flex;flex-direction:column-reverse"  # the last line is in sight
_SMALL = "opacity:0.75;font-size:12px"


def sit(table: Table, *, played_by: Policy | None = None) -> SeatView:
    """Sit down. With `played_by` that policy plays the person's seat in the first game, and the chat is to be read."""
    until_the_end = contextlib.ExitStack()
    sitting = until_the_end.enter_context(table.laid(0 if played_by else None))
    if len(sitting.people) != 1:
        raise SittingError("seats: a notebook shows one person's seat; several take turns in a terminal "
                           "(python -m maro_lib play --seat ... --seat ...)")  # fmt: skip
    return SeatView(sitting, until_the_end, played_by)


class SeatView:
    """One person's seat, as it is shown."""

    def __init__(self, sitting: Sitting, until_the_end: contextlib.ExitStack, played_by: Policy | None = None):
        self.sitting, self._until_the_end = sitting, until_the_end
        (self.number,) = sitting.people
        self.is_automatic = played_by is not None
        sitting.go_on()
        if played_by:
            sitting.played_by(played_by, self.number)
            until_the_end.close()
        else:
            self._chat, self._note, self._controls = widgets.HTML(), widgets.HTML(), widgets.VBox()
            self.panel = widgets.VBox([self._chat, self._note, self._controls])
            self._show()

    def debrief(self, rules: Sequence[str] = RULES, others: Mapping[str, Policy] | None = None) -> Shown:
        """What was true and what each move was worth, once the game is over; `others`: who says what it would do."""
        if not self.sitting.is_over:
            line = "The game is not over: play it to its end above, then run this cell again."
            return Shown(line, card(line))
        return debrief(self.sitting, self.number, rules=rules, others=others)

    def chat(self) -> Shown:
        """The view of the seat as a chat."""
        title = f"{self.sitting.people[self.number]} as {self.sitting.game.script.names[self.number]}"
        view = self.sitting.view(self.number)
        return Shown(f"{title}: {len(view)} messages", card(tag("b", title), chat_of(view, self._book)))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.chat() if self.is_automatic else self.panel)

    # --- the widgets ---------------------------------------------------------------------------------

    @property
    def _book(self) -> Phrasebook | None:
        return getattr(self.sitting.session.env.brief(self.number), "book", None)

    def _show(self, note: str = "") -> None:
        """Show the chat as it is, a note, and what may be replied."""
        self._chat.value = tag("div", self.chat().html, style=_LINES)
        if self.sitting.is_over:
            self._until_the_end.close()
            note = "The game is over: run the next cell to see what was true, and what your moves were worth."
        self._note.value = tag("div", prose(note), role="status", aria_live="polite") if note else ""
        asked = not self.sitting.is_over
        self._controls.children = [self._form(f) for f in self.sitting.forms(self.number)] if asked else []

    def _form(self, form: Form) -> widgets.Widget:
        """One way to reply: what it leaves open, and a button."""
        blanks = {blank.name: _blank(blank) for blank in form.blanks}
        button = widgets.Button(description=form.title.capitalize(), button_style="primary")
        button.on_click(lambda _: self._reply(form, {name: b.value for name, b in blanks.items()}))
        rows = [widgets.HBox(list(pair)) for pair in zip(*[iter(blanks.values())] * 2, strict=False)]
        rows += list(blanks.values())[2 * len(rows) :]
        return widgets.VBox([*rows, button])

    def _reply(self, form: Form, values: Mapping[str, str | None]) -> None:
        """Give the reply, and show how it went on; whatever goes wrong is said, and the game is kept."""
        if empty := [name for name, value in values.items() if not (value or "").strip()]:
            self._show_note(f"Please fill in: {', '.join(empty)}")
            return
        self._controls.children = []
        self._show_note(THINKING)
        try:
            why = self.sitting.say(self.number, form.say(values), self._moved)
        except RunError as error:
            self._show(str(error))
            return
        self._show(why)

    def _moved(self) -> None:
        self._chat.value = tag("div", self.chat().html, style=_LINES)

    def _show_note(self, note: str) -> None:
        self._note.value = tag("div", prose(note), role="status", aria_live="polite")


def _blank(blank: Blank) -> widgets.Widget:
    """Something to fill in: buttons for a few options, a list for many, a line for words of one's own."""
    about = {"description": blank.name, "style": {"description_width": "130px"}}
    if not blank.options:
        # sent when it is left, before the button is pressed: sent while typing, the last signs may come after the press
        return widgets.Textarea(rows=2, layout={"width": "96%"}, continuous_update=False, **about)
    if len(blank.options) > AS_BUTTONS or any(len(option) > SHORT for option in blank.options):
        return widgets.Dropdown(options=[("choose …", ""), *((o, o) for o in blank.options)], **about)
    about["style"]["button_width"] = "48px"
    return widgets.ToggleButtons(options=blank.options, value=None, **about)


# --- the chat ----------------------------------------------------------------------------------------


def chat_of(view: Sequence[Message], book: Phrasebook | None = None) -> Html:
    """A view as a chat: what only this player reads is under a lock."""
    return join(*(bubble for message in view for bubble in _bubbles(message, book)))


def _bubbles(message: Message, book: Phrasebook | None) -> Iterator[Html]:
    if message.role == "assistant":
        yield prose(message.content, style=_OWN)
    elif message.role == "system":
        yield _secret(message.content, "only you read this")
    else:
        for is_secret, lines in _parted(message.content, book):
            yield _secret(lines, "only you know this") if is_secret else prose(lines, style=_SEEN)


def _secret(text: str, who: str) -> Html:
    return tag("div", tag("div", f"{LOCK} {who}", style=_SMALL), prose(text, limit=2000), style=_SECRET)


def _parted(text: str, book: Phrasebook | None) -> Iterator[tuple[bool, str]]:
    """Part what was shown into what everybody heard and what this player alone was told."""
    secret = _secret_line(book.private, book.memory) if book else None  # a world without a phrasebook has no such lines
    for is_secret, lines in groupby(text.splitlines(), key=lambda line: bool(secret and secret.fullmatch(line))):
        yield is_secret, "\n".join(lines)


@lru_cache
def _secret_line(private: str, memory: str) -> re.Pattern[str]:
    """What a line looks like that tells one player alone of a clue or a memory."""
    return re.compile("|".join(re.sub(r"\\{\w+\\}", ".*", re.escape(t)) for t in (private, memory)))
