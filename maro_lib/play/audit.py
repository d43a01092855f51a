"""Is a script fit to be played: true to itself, solvable, of a playable length, fair enough, without leaks?

Taught in notebook 01; `python -m maro_lib audit SCRIPT|FOLDER` prints it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from maro_lib.play.leaks import find_leaks
from maro_lib.play.policies import RANDOM, SKILLED
from maro_lib.play.rollout import Played, play, schedule
from maro_lib.progress import Bar
from maro_lib.statistics import win_rate
from maro_lib.wording import counted
from maro_lib.world.casebook import find_scripts
from maro_lib.world.mystery import Rules
from maro_lib.world.replies import name_spelling, normalise
from maro_lib.world.scripts import Script
from maro_lib.world.solver import clue_facts, has_logic, is_solvable, suspects

TextCounter = Callable[[str], int]
_WORDS = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+(?:['’-][^\W\u4e00-\u9fff]+)*")


@dataclass
class Audit:
    """What was found out about one script: lines to read, and what is wrong."""

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [f"  {name:<22} {text}" for name, text in self.lines]
        return "\n".join([self.title, *rows, *(f"  PROBLEM                {p}" for p in self.problems)])


def audit(script: Script, *, n_games: int = 200, seed: int = 0, count_tokens: TextCounter | None = None) -> Audit:
    """Check one script, with `n_games` seeded games for each kind of scripted player."""
    report = Audit(f"{script.title} ({script.cell}, {script.language}, {script.register_})")
    _check_truth(script, report)
    if not script.culprits:
        report.problems.append("the culprit is not among the players: it can be read but not played")
        return report
    _check_logic(script, report)
    _check_shape(script, report)
    games = schedule([script], n_games, seed, Rules())
    random, skilled = play(games, RANDOM), play(games, SKILLED)
    _check_lengths(skilled, report, count_tokens)
    _check_wins("random", random, report)
    _check_wins("skilled", skilled, report)
    leaks = find_leaks(script)
    report.lines.append(("leak check", "no secret reached another view" if not leaks else f"{len(leaks)} leaks"))
    report.problems += [f"{k.where} of {k.owner} was seen by {k.seen_by}" for k in leaks]
    return report


def audit_path(path: str, *, progress: bool = False, **options) -> bool:
    """Audit a script file, a folder of them, a MIRAGE checkout, or a bundled case by name.

    Each audit is printed as soon as it is done, notes come last; return whether no script has a problem.
    """
    scripts, notes = find_scripts(path)
    n_problems = 0
    with Bar(len(scripts), "script", shown=progress) as bar:
        for script in scripts:
            bar.set_postfix_str(script.title)
            report = audit(script, **options)
            n_problems += len(report.problems)
            with bar.external_write_mode():
                print(report, end="\n\n", flush=True)
            bar.update()
    print(*notes, sep="\n")
    return n_problems == 0


def tokenizer_counter(folder: str) -> TextCounter:
    """Count tokens with a Hugging Face tokenizer from a folder or the hub."""
    from transformers import AutoTokenizer  # heavy, and wanted by few

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def count_words(text: str) -> int:
    """Words; in Chinese, characters."""
    return len(_WORDS.findall(text))


def _check_truth(script: Script, report: Audit) -> None:
    named = {n for n, _, _ in name_spelling(script).find(normalise(script.truth.text))}
    report.lines.append(("culprit", ", ".join(script.truth.culprits)))
    missing = [c for c in script.truth.culprits if c not in named and c not in script.truth.text]
    report.lines.append(("truth text names them", "no" if missing else "yes"))
    if missing:
        report.problems.append(f"truth.text does not name {', '.join(missing)}")


def _check_logic(script: Script, report: Audit) -> None:
    if not has_logic(script):
        told = "not known: its clues carry no facts, so skilled players know no more than others"
        report.lines.append(("solvable", told))
        return
    left = [" and ".join(c) for c in suspects(script, clue_facts(script))]
    report.lines.append(("solvable", "yes" if is_solvable(script) else "no"))
    report.lines.append(("left by all clues", " or ".join(left) or "nobody"))
    if not is_solvable(script):
        report.problems.append("the clues do not leave exactly the culprits")


def _check_shape(script: Script, report: Audit) -> None:
    civilians, private = len(script.names) - script.n_culprits, sum(bool(c.private_to) for c in script.clues)
    report.lines += [
        ("players", f"{counted(civilians, 'civilian')}, {counted(script.n_culprits, 'culprit')}"),
        ("stages, special rules", f"{len(script.stages)}, {len(script.rules)}"),
        ("reachable clues", f"{len(script.clues)} ({private} private) in {len(script.places)} places"),
    ]


def _check_lengths(played: Played, report: Audit, count_tokens: TextCounter | None) -> None:
    """Words of the views at the start and at the end of a game (tokens too, when a tokenizer is given)."""
    views = played.table("dialogues", ["messages"])["messages"].head(200)
    count, unit = (count_tokens, "tokens") if count_tokens else (count_words, "words")
    for label, texts in (
        ("at the start", [v[0]["content"] for v in views]),
        ("after the game", ["\n".join(m["content"] for m in v) for v in views]),
    ):
        n = [count(t) for t in texts]
        report.lines.append((f"view {label}", f"{min(n)} to {max(n)} {unit}"))
    if not count_tokens:
        report.lines.append(("tokens per view", "not counted: name a tokenizer with --tokenizer"))


def _check_wins(players: str, played: Played, report: Audit) -> None:
    games = played.table("games", ["winner", "n_illegal"])
    rate = win_rate(games["winner"] == "civilian")
    report.lines.append((f"civilians win, {players}", str(rate)))
    if games["n_illegal"].sum():
        report.problems.append(f"{players} players gave {games['n_illegal'].sum()} illegal replies")
