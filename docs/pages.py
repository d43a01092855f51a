"""The pages: what README and docs say in figures, tables and maps is written by code, from what they are about.

In a sentence a figure stands before the name of its source, `+18.3 [12.7, 24.0]<!-- study: MARO, civilian -->`; a table
stands between `<!-- table: rooms -->` and `<!-- end -->`. `make pages` writes all of them anew.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from maro_lib.runs import ROOT, write_atomic
from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import p_value, signed

if TYPE_CHECKING:
    import pandas as pd

NUMBER = r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?"
FIGURE = re.compile(rf"({NUMBER}(?: [\w%]+)?(?: \[{NUMBER}, {NUMBER}\])?)<!-- (\w+): ([^>]+) -->")
TABLE = re.compile(r"(<!-- table: ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)
LIBRARY = ROOT / "maro_lib"
# in order
ROOMS = ("world", "worlds", "play", "model", "embedded", "learn", "measure", "study", "show", "share", "run")
MATRIX = ROOT / "notebooks" / "evidence" / "sweeps" / "worlds.parquet"
MEASUREMENTS = ROOT / "docs" / "measurements.yaml"
STUDY_PICTURE = ROOT / "notebooks" / "images" / "evidence.png"


class PageError(ValueError):
    """A page names a source that does not exist, or asks more of it than it has."""


def pages() -> list[Path]:
    """Return the pages that are written here; docs/parameters.md has a command of its own."""
    return [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "parameters.md"})]


def filled_page(text: str) -> str:
    """Return a page with every table and every figure as its source has it now."""
    text = TABLE.sub(lambda m: f"{m[1]}{_table(m[2])}\n{m[3]}", text)
    return FIGURE.sub(lambda m: f"{_rewritten(m[1], m[2], m[3])}<!-- {m[2]}: {m[3]} -->", text)


def _table(name: str) -> str:
    kind, *words = name.split(", ")
    if kind not in BLOCKS:
        raise PageError(f"<!-- table: {name} -->: there is no table {kind!r}; there are {', '.join(BLOCKS)}")
    return BLOCKS[kind](*words)


def _rewritten(said: str, source: str, words: str) -> str:
    """Put a source's numbers where a figure's numbers stand, with as many decimals."""
    try:
        numbers = iter(SOURCES[source](*words.split(", ")))
        return re.sub(NUMBER, lambda m: _like(m[0], next(numbers)), said)
    except (KeyError, IndexError, TypeError, StopIteration) as error:
        raise PageError(f"{said}<!-- {source}: {words} -->: there is no such figure ({error!r})") from None


def _like(said: str, value: float) -> str:
    sign, decimals = "+" if said.startswith("+") else "", len(said.partition(".")[2])
    return f"{value:{sign}z,.{decimals}f}"


# --- where figures come from -------------------------------------------------------------------------


@cache
def _study() -> pd.DataFrame:
    from maro_lib.study import evidence  # loads torch

    return evidence.summarise(evidence.read_findings().results)


@cache
def _beyond() -> pd.DataFrame:
    from maro_lib.study import evidence

    return evidence.leads(_study()[_study()["arm"].isin(evidence.arms_of("evidence"))])


@cache
def measurements() -> dict[str, Any]:
    """Read what was measured once: by group and name, each with its machine and its date."""
    return yaml.load(MEASUREMENTS.read_text(encoding="utf-8"), StrictLoader)


@cache
def _card() -> dict[str, Any]:
    return json.loads((LIBRARY / "embedded" / "weights" / "card.json").read_text())


def of_study(arm: str, who: str, *asked: str) -> Iterable[float]:
    """A change in points with its interval; or a measure's, or what was `trained` or `base`, or `least` and `most`."""
    rows = _study()
    measure = next((name for name in asked if name in set(rows["measure"])), "games won")
    own = rows[(rows["arm"] == arm) & (rows["who"] == who) & (rows["measure"] == measure)]
    seeds, together = own[own["seed"] != "all"]["change"], own[own["seed"] == "all"].iloc[0]
    values = {"least": seeds.min(), "most": seeds.max(), "trained": together["trained"], "base": together["base"]}
    if column := next((name for name in asked if name in values), ""):
        return [values[column]]
    return together[["change", "low", "high"]].tolist()


def of_beyond(arm: str, who: str) -> Iterable[float]:
    """How much more MARO gained than another arm, in points, paired by seed."""
    rows = _beyond()
    return rows[(rows["arm"] == arm) & (rows["who"] == who)].iloc[0][["mean", "low", "high"]].tolist()


def of_card(name: str) -> Iterable[float]:
    """The embedded model: its millions of weights and of tokens, its minutes, a score in percent."""
    card = _card()
    counts = {"weights": card["parameters"] / 1e6, "tokens": card["tokens_seen"] / 1e6, "minutes": card["seconds"] / 60}
    score = card["scores"].get(name, {})
    return [counts[name]] if name in counts else [100 * score[part] for part in ("mean", "low", "high")]


def of_measured(path: str) -> Iterable[float]:
    """A number, or a number with its interval, of docs/measurements.yaml: `group.name.number`."""
    value = measurements()
    for name in path.split("."):
        value = value[name]
    return value if isinstance(value, list) else [value]


@cache
def _matrix() -> pd.DataFrame:
    """What was learned in one world and played in another: goals reached more than by base, a row per training."""
    import pandas as pd

    from maro_lib.study import across  # loads torch

    found = across.each_training(pd.read_parquet(MATRIX)).query("said == @across.GOALS")
    return found.assign(is_world=found["world"].isin(set(found["arm"])), is_abroad=found["world"] != found["arm"])


@cache
def _paid() -> pd.DataFrame:
    import pandas as pd

    from maro_lib.study import across

    return across.paid_at_home(pd.read_parquet(MATRIX))


def of_matrix(learned: str, what: str) -> Iterable[float]:
    """A count over the trainings in all worlds on some labels.

    `trainings` themselves; the `numbers` abroad, and those clearly `more` or `less` than base's; `takes`: trainings in
    which the trained player's payoff is clearly up and the others' clearly down.
    """
    abroad = _matrix()[(_matrix()["learned"] == learned) & _matrix()["is_abroad"]]
    own = _paid()[_paid()["learned"] == learned]
    clear = own.pivot(index=["world", "seed"], columns="part", values="clear")
    counts = {
        "trainings": len(clear),
        "numbers": len(abroad),
        "more": (abroad["low"] > 0).sum(),
        "less": (abroad["high"] < 0).sum(),
        "takes": ((clear["own"] > 0) & (clear["others"] < 0)).sum(),
    }
    return [counts[what]]


def of_paid(world: str, learned: str, part: str) -> Iterable[float]:
    """A change of payoff at home, mean over seeds: of a part of `across.PAID` (`greedy` for short), or all's `base`."""
    own = _paid()[(_paid()["world"] == world) & (_paid()["learned"] == learned)]
    name = {"base": "all", "greedy": "own, beside greedy"}.get(part, part)
    return [own[own["part"] == name]["base" if part == "base" else "change"].mean()]


def of_params(file: str, name: str) -> Iterable[float]:
    """A number that a parameter file sets."""
    return [yaml.load((ROOT / "params" / f"{file}.yaml").read_text(encoding="utf-8"), StrictLoader)[name]]


SOURCES: dict[str, Callable[..., Iterable[float]]] = {
    "study": of_study, "beyond": of_beyond, "card": of_card, "measured": of_measured, "params": of_params,
    "matrix": of_matrix, "paid": of_paid,
}  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table in Markdown."""
    head = list(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _first_sentence(text: str) -> str:
    """The first sentence of a text, without its full stop."""
    return re.split(r"\.(?:\s|$)", " ".join(text.split("\n\n")[0].split()))[0]


def _in_and_out(flow: str) -> str:
    """The sentences of a paragraph that say what comes in and what goes out, without the last full stop."""
    sentences = re.split(r"\.\s+", " ".join(flow.split()))
    told = [said for said in sentences if re.search(r"\bcomes? in\b|\bgo(es)? out\b|\bOut go\b", said)]
    return ". ".join(told).removesuffix(".")


def rooms_table() -> str:
    """A row per room: what it is for, what comes in and goes out, and the notebooks that teach it."""
    rows = []
    for room in ROOMS:
        purpose, *others = _docstring(LIBRARY / room / "__init__.py").split("\n\n")
        flow = next(part for part in others if not part.startswith(" "))
        link = f"[`{room}/`](maro_lib/{room}/__init__.py)"
        notebooks = ", ".join(sorted(re.findall(r"\b\d\d\b", flow)))
        rows.append([link, _first_sentence(purpose).partition(": ")[2], _in_and_out(flow), notebooks])
    return markdown(["room", "what it is for", "what comes in and goes out", "notebooks"], rows)


def files_table(folder: str) -> str:
    """A row per module of a room, or per parameter file: its first sentence."""
    if folder == "params":
        files = sorted((ROOT / folder).rglob("*.yaml"))
        told = [re.sub("^# ?", "", re.match(r"(?:#.*\n)*", path.read_text())[0], flags=re.MULTILINE) for path in files]
    else:
        files = [path for path in sorted((ROOT / folder).glob("*.py")) if path.name != "__init__.py"]
        told = [_docstring(path) for path in files]
    names = [path.relative_to(ROOT / folder).as_posix() for path in files]
    links = [f"[`{name}`](../{folder}/{name})" for name in names]
    return markdown(["file", "what it is"], zip(links, map(_first_sentence, told), strict=True))


def notebooks_table() -> str:
    """A row per notebook: the question of its first cell, and the minutes that it takes."""
    minutes = measurements()["notebooks"]["minutes"]
    rows = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cell = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        question = re.search(r"^\*\*(.*\?)\*\*$", cell, re.MULTILINE)[1]
        rows.append([f"[{path.stem}](notebooks/{path.name})", question, str(minutes[path.stem[:2]])])
    return markdown(["notebook", "question", "minutes"], rows)


def study_table(sweep: str) -> str:
    """A row per arm of a sweep: games won more than by base, over all seeds and on each of them."""
    from maro_lib.study import evidence

    arms = evidence.arms_of(sweep)
    rows = [[arm, *(cell for who in ("civilian", "culprit") for cell in _gains(arm, who))] for arm in arms]
    return markdown(["", "civilians, all seeds", "each seed", "culprits, all seeds", "each seed"], rows)


def _gains(arm: str, who: str) -> Iterator[str]:
    own = _study()[(_study()["arm"] == arm) & (_study()["who"] == who) & (_study()["measure"] == "games won")]
    yield _interval(*of_study(arm, who))
    yield ", ".join(f"{change:z.0f}" for change in own[own["seed"] != "all"]["change"])


def _interval(mean: float, low: float, high: float) -> str:
    return f"{signed(mean, 1)} [{low:z.1f}, {high:z.1f}]"


def beyond_table() -> str:
    """A row per other arm: how much more MARO gained, and p as Holm adjusts it."""
    rows = []
    for arm in _beyond()["arm"].unique():
        cells = []
        for who in ("civilian", "culprit"):
            row = _beyond()[(_beyond()["arm"] == arm) & (_beyond()["who"] == who)].iloc[0]
            p = p_value(row["holm"]).replace("nan", "")
            cells += [_interval(row["mean"], row["low"], row["high"]), p]
        rows.append([arm, *cells])
    return markdown(["MARO beyond", "civilians", "Holm's p", "culprits", "Holm's p"], rows)


def card_table() -> str:
    """A row per score of the embedded model, in percent."""
    rows = []
    for name, score in _card()["scores"].items():
        mean, low, high = of_card(name)
        rows.append([name, f"{mean:.1f} [{low:.1f}, {high:.1f}]", str(score["n"])])
    return markdown(["score", "percent", "n"], rows)


def carried_table() -> str:
    """A row per world that was trained in and who played: goals reached more than by base, over seeds and on each."""
    from maro_lib.measure.matches import CONTROL, MARO  # loads torch

    found = _matrix()
    rows = []
    for (world, who), own in found.groupby(["arm", "who"], sort=False):
        home = own[own["world"] == world]
        if len(home):
            base = f"{home.groupby('seed')['base'].first().mean():.0f}"
            rows.append([world, who, base, *(cell for name in (MARO, CONTROL) for cell in _carried(own, home, name))])
    columns = (cell for name in ("MARO", "control") for cell in (name, "each seed", f"{name} elsewhere"))
    return markdown(["learned in", "who plays", "base, %", *columns], rows)


def _carried(own: pd.DataFrame, home: pd.DataFrame, learned: str) -> Iterator[str]:
    at_home = home[home["learned"] == learned]
    yield _mean(at_home["value"])
    yield ", ".join(_tile(*change) for change in at_home[["value", "low", "high"]].itertuples(index=False))
    yield _mean(own[(own["learned"] == learned) & own["is_abroad"] & own["is_world"]]["value"])


def _tile(change: float, low: float, high: float) -> str:
    """A change in whole points, bold where its interval leaves out zero."""
    return f"**{signed(change, 0)}**" if low > 0 or high < 0 else signed(change, 0)


def _mean(values: pd.Series) -> str:
    return signed(round(values.mean(), 6), 1)  # a mean that ends in .x5 must not depend on the order


def measured_table(group: str) -> str:
    """A row per measurement of a group: what, its figure, where and when."""
    rows = [
        [entry["what"], entry["say"].format(**entry), f"{entry['machine']}, {entry['date']}"]
        for entry in measurements()[group].values()
    ]
    return markdown(["what", "figure", "machine and date"], rows)


BLOCKS: dict[str, Callable[..., str]] = {
    "rooms": rooms_table, "files": files_table, "notebooks": notebooks_table, "study": study_table,
    "beyond": beyond_table, "carried": carried_table, "card": card_table, "measured": measured_table,
}  # fmt: skip


def study_picture() -> bytes:
    """The picture of the whole study, as notebook 08 draws it from the kept findings."""
    cells = json.loads((ROOT / "notebooks" / "08_evidence.ipynb").read_text(encoding="utf-8"))["cells"]
    drawn = next(cell for cell in cells if "plot_study(whole" in "".join(cell["source"]))
    pictures = (output["data"]["image/png"] for output in drawn["outputs"] if "image/png" in output.get("data", {}))
    return base64.b64decode(next(pictures, ""))  # empty: the notebook was not executed


def write_pages() -> None:
    """Write every page and its picture of the study anew, and name those that changed."""
    written = {path: filled_page(path.read_text(encoding="utf-8")).encode() for path in pages()}
    if picture := study_picture():
        written[STUDY_PICTURE] = picture
    for path, after in written.items():
        if after != path.read_bytes():
            write_atomic(path, after)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    write_pages()
