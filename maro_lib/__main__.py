"""The command line: `python -m maro_lib run`, `report`, `compare`, `doctor`, `parameters`, `audit`, `bench`."""

from __future__ import annotations

import argparse
import sys


def _run(arguments: argparse.Namespace) -> int:
    """Run the series of notebooks."""
    from maro_lib.run.series import run_series  # only what the chosen command needs is imported

    options = (arguments.only, arguments.start, arguments.fresh, arguments.notebooks, arguments.changed)
    return run_series(arguments.params, *options)


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m maro_lib", description="MARO, notebook by notebook.")
    commands = top.add_subparsers(metavar="COMMAND")
    _add_run(commands)
    _add_report(commands)
    _add_compare(commands)
    _add_doctor(commands)
    _add_parameters(commands)
    _add_audit(commands)
    _add_bench(commands)
    return top


def _add_run(commands) -> None:
    command = commands.add_parser("run", help="run the notebooks with a parameter file")
    command.add_argument("params", metavar="PARAMS", help="a YAML file, such as params/cpu.yaml")
    command.add_argument("--only", default="", metavar="02,03", help="only these notebooks; a number alone is that of "
                         "round 1, a later round is named as in round_2/05")  # fmt: skip
    command.add_argument("--from", default="", dest="start", metavar="03", help="this notebook and those after it, "
                         "all later rounds included; or round_2/03")  # fmt: skip
    command.add_argument("--fresh", action="store_true", help="run also what has not changed, from nothing")
    command.add_argument("--notebooks", default="", metavar="FOLDER", help="another series than notebooks/")
    command.add_argument("--set", nargs="*", default=[], dest="changed", metavar="NAME=VALUE", help="in the place of "
                         "what the file says")  # fmt: skip
    command.set_defaults(command=_run)


def _add_report(commands) -> None:
    command = commands.add_parser("report", help="write a run's report.html again, from what its stages have left")
    command.add_argument("folder", metavar="outputs/RUN", help="the run's folder, or its name")
    command.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    """Write a report and say where."""
    from maro_lib.run.compare import named_run
    from maro_lib.runs import RunError, shown
    from maro_lib.show.report import write_report

    try:
        run, n_rounds = named_run(arguments.folder)
        print(shown(write_report(run, n_rounds)))
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _add_compare(commands) -> None:
    command = commands.add_parser("compare", help="several runs side by side, and their mean")
    command.add_argument("folders", nargs="+", metavar="outputs/RUN", help="the runs' folders, or their names")
    command.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    """Compare runs by what their games show."""
    from maro_lib.run.compare import compare_runs
    from maro_lib.runs import RunError

    try:
        print(compare_runs(arguments.folders))
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _add_doctor(commands) -> None:
    command = commands.add_parser("doctor", help="say before a long run whether it will work")
    command.add_argument("params", metavar="PARAMS", help="a YAML file, such as params/gpu_qwen2.5_7b.yaml")
    command.add_argument("--set", nargs="*", default=[], dest="changed", metavar="NAME=VALUE", help="in the place of "
                         "what the file says")  # fmt: skip
    command.set_defaults(command=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    """Check a parameter file against this machine and return 1 if there is a problem."""
    from maro_lib.run.doctor import doctor

    return doctor(arguments.params, arguments.changed)


def _add_parameters(commands) -> None:
    command = commands.add_parser("parameters", help="list what a parameter file may set: docs/parameters.md")
    command.set_defaults(command=_parameters)


def _parameters(_: argparse.Namespace) -> int:
    """Print the page of all parameters."""
    from maro_lib.run.parameters import declared, parameters_page
    from maro_lib.run.series import find_notebooks
    from maro_lib.runs import ROOT

    print(parameters_page(declared(find_notebooks(ROOT / "notebooks"))), end="")
    return 0


def _add_audit(commands) -> None:
    command = commands.add_parser("audit", help="check a script, or a folder of scripts")
    command.add_argument("path", metavar="SCRIPT|FOLDER", help="a YAML script, a folder of them, a MIRAGE checkout, or "
                         "the name of a case that comes with the kit")  # fmt: skip
    command.add_argument("--games", type=int, default=200, help="games for each kind of scripted player")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--tokenizer", default="", metavar="FOLDER", help="count tokens per view with this tokenizer")
    command.set_defaults(command=_audit)


def _audit(arguments: argparse.Namespace) -> int:
    """Check scripts and return 1 if one has a problem."""
    from maro_lib.play.audit import audit_path, tokenizer_counter
    from maro_lib.world.scripts import ScriptError

    count_tokens = tokenizer_counter(arguments.tokenizer) if arguments.tokenizer else None
    try:
        audits, notes = audit_path(
            arguments.path, n_games=arguments.games, seed=arguments.seed, count_tokens=count_tokens
        )
    except ScriptError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n\n".join(map(str, audits)), *notes, sep="\n")
    return int(any(report.problems for report in audits))


def _add_bench(commands) -> None:
    command = commands.add_parser("bench", help="measure how fast scripted players, or a model, play")
    command.add_argument("--games", type=int, default=0, help="how many (10,000 scripted, 96 by a model)")
    command.add_argument("--model", default="", help="a model's folder or name, or embedded; empty: scripted players")
    command.set_defaults(command=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from maro_lib.runs import outputs_folder
    from maro_lib.show.figures import plot_paces
    from maro_lib.study.benchmark import bench, bench_model, told_paces

    if arguments.model:
        paces = bench_model(arguments.model, arguments.games or 96)
        picture = plot_paces(paces, outputs_folder() / "bench" / "playing.png")
        print("\n".join([*told_paces(paces), str(picture)]))
    else:
        print("\n".join(bench(arguments.games or 10_000)))
    return 0


def main(words: list[str] | None = None) -> int:
    """Run one command; without one, print the help."""
    top = parser()
    arguments = top.parse_args(words)
    if not hasattr(arguments, "command"):
        top.print_help()
        return 0
    return arguments.command(arguments)


if __name__ == "__main__":
    sys.exit(main())
