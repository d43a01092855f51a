"""A page that a person opens: parts under their titles, tables, pictures; self-contained, without a script.

A policy in its head forbids scripts, and requests to any network. All text passes through `maro_lib.markup`, which
escapes it. The report of a run and the page of a sweep are made of it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from maro_lib.markup import Html, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
CSS = Path(__file__).with_name("report.css")


class Part(NamedTuple):
    """A section of the page, and the numbers that it shows."""

    title: str
    html: Html
    numbers: Any = None


def page_of(title: str, parts: Sequence[Part]) -> str:
    """Put parts on one page."""
    head = tag(
        "head", Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title), tag("style", Html(f"\n{CSS.read_text(encoding='utf-8')}")),
    )  # fmt: skip
    links = [tag("a", part.title, href=f"#part-{k}") for k, part in enumerate(parts) if part.title]
    shown = [
        tag("section", tag("h2", part.title) if part.title else "", part.html, id=f"part-{k}")
        for k, part in enumerate(parts)
    ]
    first = next((k for k, part in enumerate(parts) if part.title), len(parts))
    body = tag("body", *shown[:first], tag("nav", *links) if links else "", *shown[first:])
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def table_of(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, marked: Iterable[bool] = (), class_: str = ""
) -> Html:
    """A table, numbers and their headings on the right; rows that are to be seen are marked."""
    of_numbers = [k > 0 and any(_is_number(row[k]) for row in rows) for k in range(len(heads))]
    head = [tag("th", h, class_="number" if is_right else "") for h, is_right in zip(heads, of_numbers, strict=True)]
    body = [
        tag("tr", *(tag("td", x, class_="number" if k and _is_number(x) else "") for k, x in enumerate(cells)),
            class_="shown" if is_marked else "")
        for cells, is_marked in zip_longest(rows, marked)
    ]  # fmt: skip
    return tag("div", tag("table", tag("tr", *head), *body, class_=class_), class_="wide")


def _is_number(x: object) -> bool:
    return str(x)[:1] in "+-[<0123456789"


def number(x: float) -> str:
    return "" if x != x else f"{x:.3f}" if abs(x) < 10 else f"{x:.1f}"


def picture(figure: Figure, what: str) -> Html:
    """A figure as a picture inside the page."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    plt.close(figure)
    picture = base64.b64encode(data.getvalue()).decode()
    return tag("div", Html(f'<img alt="{what}" src="data:image/png;base64,{picture}">'), class_="wide")
