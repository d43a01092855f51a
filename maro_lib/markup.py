"""HTML as values: plain text is escaped the moment it enters a tag, so that no view can forget to.

What is written here survives an untrusted notebook in JupyterLab (inline styles and `<details>`, no style sheet,
script, SVG or id), nbconvert and a static page. MathJax leaves it alone, and no invisible sign, right-to-left
override or endless line in a model's reply can disturb what stands around it.

Used from notebook 01 on.
"""

from __future__ import annotations

import html
import unicodedata
from dataclasses import dataclass

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control and format signs (bidi overrides, zero width), lone surrogates
_NO_MATH = "tex2jax_ignore mathjax_ignore"  # MathJax 2 (nbconvert) and 3 (JupyterLab)
_CARD = (
    "border:1px solid rgba(128,128,128,0.4);border-radius:8px;padding:14px 18px;margin:4px 0;"
    "max-width:960px;font-family:system-ui,sans-serif;font-size:14px;line-height:1.5;text-align:left"
)
_PROSE = "white-space:pre-wrap;overflow-wrap:break-word;overflow:hidden"  # hidden: stacked accents stay in their line
_MOST = 50_000  # characters of one text that a view holds at all: a notebook must stay a file that opens
_MORE = "cursor:pointer;opacity:0.75;font-size:12px"


class Html(str):
    """Markup: enters a tag as it is, where a plain string is escaped."""


@dataclass(frozen=True, repr=False)
class Shown:
    """Something to look at: HTML in a notebook, one line of text elsewhere."""

    line: str
    html: Html

    def __repr__(self) -> str:
        return " ".join(visible(self.line).split())

    def _repr_html_(self) -> str:
        return str(self.html)

    def page(self) -> str:
        """Return a whole HTML page, to be saved and opened anywhere."""
        metas = Html('<meta charset="utf-8"><meta name="color-scheme" content="light dark">')
        head = tag("head", metas, tag("title", repr(self)))
        return f"<!DOCTYPE html>\n{tag('html', head, tag('body', self.html, style='margin:24px'))}\n"


def tag(name: str, *children: object, **attributes: object) -> Html:
    """Return an element; an attribute given as True has no value, one that is empty or False is left out."""
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value not in ("", False))
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Put children one after the other, escaping all that is not markup."""
    return Html("".join(c if isinstance(c, Html) else html.escape(visible(str(c))) for c in children))


def card(*children: object, language: str = "") -> Html:
    """Frame a view; it takes background and text colour from the page, so it is light or dark as that is."""
    return tag("div", *children, class_=_NO_MATH, lang=language, style=_CARD)


def fold(summary: object, *children: object, is_open: bool = False, style: str = "") -> Html:
    """Return what can be folded away under its summary."""
    head = tag("summary", summary, style="cursor:pointer")
    return tag("details", head, *children, open=is_open, style=style)


def prose(text: str, *, limit: int = 600, style: str = "") -> Html:
    """Return text in lines of its own direction; what goes beyond `limit` characters is folded away."""
    text = visible(text)
    if len(text) <= limit * 1.2:  # a fold for a last few words would hide more than it saves
        return tag("div", text, dir="auto", style=f"{_PROSE};{style}")
    cut = text.rfind(" ", limit // 2, limit) + 1 or limit
    more = tag("summary", f"… {len(text) - cut:,} more characters", style=_MORE)
    left_out = f"\n[{len(text) - _MOST:,} characters are left out here]" if len(text) > _MOST else ""
    rest = tag("details", more, tag("div", text[cut:_MOST], left_out, dir="auto", style=_PROSE))
    return tag("div", tag("div", text[:cut], dir="auto", style=_PROSE), rest, style=style)


def visible(text: str) -> str:
    """Return text with a blank for every invisible sign but line breaks and tabs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE else " " for c in lines)


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_")
    return f" {name}" if value is True else f' {name}="{html.escape(visible(str(value)))}"'
