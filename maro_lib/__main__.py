"""The command line, `python -m maro_lib`: run, sweep, play, report, watch, compare, export, import, doctor, parameters,
audit and bench.

A command imports what it needs, so that the others, and the help, come at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

Option = tuple[tuple[str, ...], dict[str, Any]]  # its names, and how argparse reads it
COMMANDS: list[tuple[Callable[[argparse.Namespace], int], str, tuple[Option, ...]]] = []  # what runs, what it is for


def option(*names: str, **how: Any) -> Option:
    return names, how


def command(what: str, *options: Option) -> Callable:
    """Make a command of the function below."""

    def listed(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
        COMMANDS.append((run, what, options))
        return run

    return listed


FOLDER = option("folder", metavar="outputs/RUN", help="the run's folder, or its name")
CHANGED = option("--set", nargs="*", default=[], dest="changed", metavar="NAME=VALUE",
                 help="in the place of what the file says")  # fmt: skip


@command("run the notebooks with a parameter file",
         option("params", metavar="PARAMS", help="a YAML file, such as params/cpu.yaml"),
         option("--only", default="", metavar="02,03", help="only these notebooks; a number alone is that of round 1, "
                "a later round is named as in round_2/05"),
         option("--from", default="", dest="start", metavar="03", help="this notebook and those after it, all later "
                "rounds included; or round_2/03"),
         option("--fresh", action="store_true", help="run also what has not changed, from nothing"),
         option("--notebooks", default="", metavar="FOLDER", help="another series than notebooks/"),
         CHANGED)  # fmt: skip
def _run(given: argparse.Namespace) -> int:
    from maro_lib.run.series import run_series

    return run_series(given.params, given.only, given.start, given.fresh, given.notebooks, given.changed)


@command("run the notebooks once for each trial of a grid, what trials share only once",
         option("file", metavar="FILE", help="a sweep's file, such as params/sweeps/beta.yaml"),
         option("--dry-run", action="store_true", help="only say what there is to run, and how long it takes"),
         option("--keep", action="store_true", help="only keep the rows of finished trials, where the file says"),
         option("--notebooks", default="", metavar="FOLDER", help="another series than notebooks/"))  # fmt: skip
def _sweep(given: argparse.Namespace) -> int:
    from maro_lib.run.sweep import run_sweep

    return run_sweep(given.file, is_dry=given.dry_run, is_to_keep=given.keep, notebooks=given.notebooks)


@command("take a seat yourself, in this terminal; a game that was left goes on",
         option("case", nargs="?", default="", metavar="CASE", help="a bundled case, a script's file or a folder of "
                "them; another world, such as commons; none: generated mysteries"),
         option("--seat", action="append", metavar="SEAT[=NAME]", help="a side or role (such as culprit, or buyer) or "
                "a character; given again for more people, who take turns; none: a civilian, or the first"),
         option("--knobs", nargs="*", default=[], metavar="NAME=VALUE", help="of another world, such as players=3"),
         option("--allow-code", action="store_true", help="run the code of a world in a file"),
         option("--name", default="you", help="what you are called in the tables; nothing else is kept of you"),
         option("--against", default="", metavar="PLAYER", help="who plays the others: an adapter's folder, embedded, "
                "smollm2, a model's folder, skilled, naive, random, or one of a world's own rules (greedy, fair); "
                "none: what the study trained, or skilled where that can't read"),
         option("--server", default="", metavar="URL", help="where the model of --against answers, as "
                "http://localhost:8000/v1"),
         option("--seed", type=int, default=0, help="of the first game"),
         option("--run", default="people", help="the folder under outputs/ that the games are kept in"))  # fmt: skip
def _play(given: argparse.Namespace) -> int:
    from maro_lib.show.table import Table, on_server, parse_seats
    from maro_lib.show.terminal import play_in_terminal
    from maro_lib.worlds.registry import knob_values

    against = on_server(given.against, given.server) if given.server else given.against
    table = Table(parse_seats(given.seat, given.name), against, given.case, seed=given.seed, run=given.run,
                  world_knobs=knob_values(given.knobs), allow_code=given.allow_code)  # fmt: skip
    return play_in_terminal(table, input, print)


@command("write a run's report.html again, from what its stages have left", FOLDER)
def _report(given: argparse.Namespace) -> int:
    from maro_lib.run.compare import named_run
    from maro_lib.runs import shown
    from maro_lib.show.report import write_report

    print(shown(write_report(*named_run(given.folder))))
    return 0


@command("write the page on which a run's games are watched: watch.html", FOLDER)
def _watch(given: argparse.Namespace) -> int:
    from maro_lib.run.compare import run_name
    from maro_lib.show.watch import said_of, write_watch

    print(said_of(write_watch(run_name(given.folder))))
    return 0


@command("several runs side by side, and their mean",
         option("folders", nargs="+", metavar="outputs/RUN", help="the runs' folders, or their names"))  # fmt: skip
def _compare(given: argparse.Namespace) -> int:
    from maro_lib.run.compare import compare_runs

    print(compare_runs(given.folders))
    return 0


@command("a run's training set, games and weights in the forms of other tools, each with a card", FOLDER,
         option("--to", required=True, metavar="FOLDER", help="a new folder, or that of this run's export"),
         option("--merge", action="store_true", help="also merge the adapter into its base, where the run has not done "
                "so (`export_merged: false`)"))  # fmt: skip
def _export(given: argparse.Namespace) -> int:
    from maro_lib.run.compare import named_run
    from maro_lib.share import export_run

    print(export_run(*named_run(given.folder), given.to, merging=given.merge))
    return 0


@command("say before a long run whether it will work",
         option("params", metavar="PARAMS", help="a YAML file, such as params/gpu_qwen2.5_7b.yaml"),
         CHANGED)  # fmt: skip
def _doctor(given: argparse.Namespace) -> int:
    from maro_lib.run.doctor import doctor

    return doctor(given.params, given.changed)


@command("list what a parameter file may set: docs/parameters.md")
def _parameters(_: argparse.Namespace) -> int:
    from maro_lib.run.arrangement import find_notebooks
    from maro_lib.run.parameters import declared, parameters_page
    from maro_lib.runs import ROOT

    print(parameters_page(declared(find_notebooks(ROOT / "notebooks"))), end="")
    return 0


@command("check a script, a folder of scripts, or a world",
         option("path", metavar="SCRIPT|FOLDER|WORLD", help="a YAML script, a folder of them, a MIRAGE checkout, the "
                "name of a case that comes with the kit, the name of a world, or a world of your own, "
                "my_world.py:MyWorld"),
         option("--knobs", nargs="*", default=[], metavar="NAME=VALUE", help="a world's, as in players=6 rounds=4"),
         option("--allow-code", action="store_true", help="run the code of a world of your own"),
         option("--games", type=int, default=200, help="games for each kind of scripted player"),
         option("--seed", type=int, default=0),
         option("--tokenizer", default="", metavar="FOLDER", help="count tokens per view with this "
                "tokenizer"))  # fmt: skip
def _audit(given: argparse.Namespace) -> int:
    from maro_lib.play.audit import audit_path, tokenizer_counter
    from maro_lib.play.world_audit import audit_world
    from maro_lib.runs import located
    from maro_lib.wording import nearest
    from maro_lib.worlds.registry import WORLDS, WorldError, is_world, knob_values

    count_tokens = tokenizer_counter(given.tokenizer) if given.tokenizer else None
    how = {"progress": sys.stderr.isatty(), "n_games": given.games, "seed": given.seed, "count_tokens": count_tokens}
    if given.path.endswith(".py"):
        raise WorldError(f"audit: {given.path}: name the world in it, too: {given.path}:MyWorld")
    if not (given.knobs or is_world(given.path)):
        if not located(given.path).exists() and (hint := nearest(given.path, WORLDS)):
            raise WorldError(f"audit: {given.path}: there is no such file or folder, and no such world{hint}")
        return int(not audit_path(given.path, **how))
    report = audit_world(given.path, knob_values(given.knobs), allow_code=given.allow_code, **how)
    print(report)
    return int(bool(report.problems))


@command("make a run of other people's games",
         option("source", metavar="FILE|FOLDER", help="games as .json, .jsonl or .parquet, in a known form"),
         option("--to", required=True, metavar="RUN", help="the new run's name: outputs/RUN"))  # fmt: skip
def _import(given: argparse.Namespace) -> int:
    from maro_lib.share.foreign import import_games

    print(import_games(given.source, given.to))
    return 0


@command("measure how fast scripted players, or a model, play",
         option("--games", type=int, default=0, help="how many (10,000 scripted, 96 by a model)"),
         option("--model", default="", help="a model's folder or name, or embedded; empty: scripted "
                "players"))  # fmt: skip
def _bench(given: argparse.Namespace) -> int:
    from maro_lib.runs import outputs_folder, shown
    from maro_lib.show.figures import plot_paces
    from maro_lib.study.benchmark import bench, bench_model, told_paces

    if not given.model:
        print("\n".join(bench(given.games or 10_000)))
        return 0
    paces = bench_model(given.model, given.games or 96)
    picture = plot_paces(paces, outputs_folder() / "bench" / "playing.png")
    print("\n".join([*told_paces(paces), shown(picture)]))
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m maro_lib", description="MARO, notebook by notebook.")
    commands = top.add_subparsers(metavar="COMMAND")
    for run, what, options in COMMANDS:
        added = commands.add_parser(run.__name__[1:], help=what)
        added.set_defaults(command=run)
        for names, how in options:
            added.add_argument(*names, **how)
    return top


def main(words: list[str] | None = None) -> int:
    """Run one command; without one, print the help."""
    from maro_lib.runs import RunError
    from maro_lib.world.scripts import ScriptError
    from maro_lib.worlds.registry import WorldError

    top = parser()
    given = top.parse_args(words)
    if not hasattr(given, "command"):
        top.print_help()
        return 0
    try:
        return given.command(given)
    except (RunError, ScriptError, WorldError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
