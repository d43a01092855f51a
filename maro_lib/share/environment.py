"""A world as a package for the `verifiers` library: a run's scripts and rules, and a module that plays them.

What the module does is in `verifiers_game`; with its scripts in it the package plays the same wherever it is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from maro_lib.play.gamebook import load_gamebook
from maro_lib.play.shards import read_scripts
from maro_lib.runs import make_folder, write_atomic
from maro_lib.share.cards import CARD_WORDS, Markdown, write_card
from maro_lib.share.source import Source
from maro_lib.share.terms import terms_of
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script
from maro_lib.world.setups import Scenario, dump_scripts
from maro_lib.worlds.world import WorldRules


def write_environment(source: Source, folder: Path) -> None:
    """Write a package that can be installed, and its card."""
    scripts, book = read_scripts(source.at("rollout")), load_gamebook(source.at("gamebook.json"))
    name = write_package(folder, source.run, scripts.values(), book.seed, book.rules)
    terms = terms_of(source)
    write_card(folder, "environment", {"license": terms.licence, "tags": ["verifiers", "maro", "multi-agent"]},
               run=source.title, id=Markdown(name), n_scripts=f"{len(scripts):,}", terms=terms.told)  # fmt: skip


def write_package(
    folder: Path, run: str, scripts: Iterable[Script | Scenario], seed: int, rules: Rules | WorldRules
) -> str:
    """Write a project file, a module, the scripts and what decides their games; return what the package is called."""
    module = module_name(run)
    make_folder(folder / module)
    project, program = (CARD_WORDS / name for name in ("environment_project.toml", "environment_module.txt"))
    name = module.replace("_", "-")
    write_atomic(folder / "pyproject.toml", project.read_text(encoding="utf-8").format(name=name, module=module))
    write_atomic(folder / module / "__init__.py", program.read_bytes())
    write_atomic(folder / module / "scripts.yaml", dump_scripts(scripts))
    decides = {"seed": seed, "rules": asdict(rules)}
    write_atomic(folder / module / "game.json", json.dumps(decides, indent=1) + "\n")
    return name


def module_name(run: str) -> str:
    """Return what the package of a run is called when it is imported."""
    return f"maro_{re.sub(r'[^a-z0-9]+', '_', run.lower()).strip('_')}"
