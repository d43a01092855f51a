"""How what is shown of a game looks: its colours, its inline styles, the small parts that every view is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maro_lib.markup import Html, fold, join, tag

# A view has no background and no text colour of its own: it follows the theme around it. A notebook that is not trusted
# keeps only inline styles with plain colours, and no colour has a contrast of 4.5 with white and with a dark page: so
# names are in the theme's own colour, on a tint of their player's that lets the page through.
SEATS = ("#8e5ae7", "#228945", "#c94592", "#188682", "#96731a", "#b648ca", "#227dbf", "#d14759", "#767d2a", "#787878")
PRAISE, BLAME = (0, 114, 178), (213, 94, 0)
SUSPICION, TRUST = (204, 71, 132), (0, 158, 115)
STRONGEST = 0.55  # of a tint: the theme's text is read on it
OF_NAMES = 0.3  # of the tint under a name
LOCK = "🔒"


class Css:
    """The inline styles of what a view is made of."""

    MUTED = "opacity:0.75"
    SMALL = "opacity:0.75;font-size:12px"
    CHIP = "display:inline-block;padding:0 7px;margin-right:6px;border-radius:9px;font-size:12px;line-height:18px"
    EDGE = "border:1px solid rgba(128,128,128,0.4)"
    GREY = f"{CHIP};background:rgba(128,128,128,0.2)"
    CULPRIT = f"{CHIP};background:#5b3a5e;color:#ffffff"
    WARNING = f"{CHIP};background:rgba(230,159,0,0.25);border:1px dashed #b08800"
    BOX = "background:rgba(128,128,128,0.1);border-radius:6px;padding:5px 10px;margin:4px 0"
    SECRET = "background:rgba(138,99,184,0.07);border-radius:6px;padding:3px 10px;margin:4px 0;font-size:13px"
    PART = "margin:12px 0 4px 0;border-top:1px solid rgba(128,128,128,0.4);padding-top:8px"
    MARGIN = "width:58px;height:20px;flex:none;margin-right:10px;text-align:center;font-size:12px;border-radius:4px"
    HEAD = "font-size:15px;font-weight:600"
    TABLE = "border-collapse:collapse;margin:6px 0;font-size:13px"
    CELL = f"padding:2px 9px;text-align:left;vertical-align:middle;{EDGE}"
    NUMBER = f"padding:1px 6px;text-align:center;vertical-align:middle;{EDGE}"
    NARROW = "font-size:10px;line-height:12px;padding:2px 0;overflow-wrap:break-word"
    FIXED = f"{TABLE};table-layout:fixed;width:100%"
    ROW = "background:rgba(128,128,128,0)"  # JupyterLab stripes rows: the same tint would have two colours


def titled(text: str, chips: Iterable[str]) -> Html:
    """Return a view's heading, with what it is in a few words below."""
    title = tag("div", tag("bdi", text), style="font-size:19px;font-weight:600;margin-bottom:2px")
    return join(title, *(tag("span", c, style=Css.GREY) for c in chips))


def named(who: str, names: Sequence[str]) -> Html:
    """Return a player's name, on a tint of the player's colour."""
    red, green, blue = bytes.fromhex(colour_of(who, names)[1:])
    tint = f"background:rgba({red},{green},{blue},{OF_NAMES})"
    return tag("bdi", who, style=f"font-weight:600;{tint};border-radius:4px;padding:0 4px")


def colour_of(who: str, names: Sequence[str]) -> str:
    """Return a player's colour: by seat, so that it is the same in every view of a game."""
    return SEATS[names.index(who) % len(SEATS)] if who in names else SEATS[-1]


def seat_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Return a table under its headings."""
    head = table_row(*(tag("th", h, style=f"{Css.CELL};{Css.SMALL}") for h in heads))
    lines = [table_row(*(tag("td", c, style=Css.CELL) for c in row)) for row in rows]
    return tag("div", tag("table", head, *lines, style=Css.TABLE), style="overflow-x:auto")


def table_row(*cells: Html) -> Html:
    """Return a row of a table."""
    return tag("tr", *cells, style=Css.ROW)


def game_part(title: str, *children: Html) -> Html:
    """Return a part of a game under its title, open."""
    return fold(tag("span", title, style=Css.HEAD), *children, is_open=True, style=Css.PART)


def secret(summary: object, *children: object) -> Html:
    """Fold away what one player alone knows."""
    return fold(join(f"{LOCK} private: ", summary), *children, style=Css.SECRET)


def badge(faction: str) -> Html:
    """Return a side as a badge; that of a culprit is told from the others."""
    return tag("span", faction, style=Css.CULPRIT if faction == "culprit" else Css.GREY)


def speaker_edge(name: str, names: Sequence[str]) -> str:
    """Return the style of what a player says or does: an edge in the player's colour."""
    return f"border-left:3px solid {colour_of(name, names)};padding-left:10px;flex:1;min-width:0"


def wash(colour: tuple[int, int, int], strength: float) -> str:
    """Return a background that lets the theme through: not at all (0) to as strong as text is read on (1)."""
    return f"background:rgba({','.join(map(str, colour))},{STRONGEST * strength:.2f})"
