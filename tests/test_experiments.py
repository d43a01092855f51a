"""The experiments that come along, walked to their page: the real notebooks, with sizes made small."""

import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import yaml
from test_notebook_params import NOTES, models  # noqa: F401

from maro_lib.play.pool import POOL
from maro_lib.run import sweep
from maro_lib.run.sweep import run_sweep
from maro_lib.runs import ROOT, run_folder
from maro_lib.study.across import matrix
from maro_lib.study.maps import in_kind
from maro_lib.world.scripts import FACTIONS

matplotlib.use("Agg")

SIZES = {
    "n_games": 12, "n_scripts": 6, "n_compare": 4, "n_counterfactual": 2, "n_samples": 1, "batch": 8, "n_dialogues": 16,
    "n_views": 2, "n_matches": 4, "n_match_scripts": 4, "n_elsewhere": 4, "n_check_games": 2, "eval_limit": 4,
    "n_cross": 2, "n_cross_scripts": 2, "n_home_games": 24, "n_away_games": 2, "n_world_scenarios": 1, "n_asked": 4,
    "progress": False,
}  # fmt: skip
TINY = {"characters": 4, "rounds": 1, "max_new_tokens": 12, "window": 4096, "max_gen_toks": 4}  # of random weights
MATRIX = "worlds.yaml"
OF_MYSTERIES = sorted(p for p in (ROOT / "params" / "sweeps").glob("*.yaml") if p.name != MATRIX)
ALWAYS, WHOLE = "balancing", ("rivals",)  # walked in `make test`; with all arms
SELDOM_WON = ["coordination"]  # in a few games
SMALLER = {"n_dialogues": 16, "epochs": 0.5, "n_online": 6, "maro_iterations": 2}  # in an arm
ROUNDS = 2  # of those that have several
LATER = re.compile(rf"\bround[_ ]([^1-{ROUNDS}]|\d\d)")


def small(path: Path, folder: Path, tiny: Path) -> Path:
    """Return a copy of a sweep's file with its first and last cell (of some: all) and two rounds, on one seed.

    `tiny` stands for a larger model. Random weights find no culprit, and who always loses can't be trained alone.
    """
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = yaml.safe_load((ROOT / file.pop("of")).read_text(encoding="utf-8")) | file.get("values", {}) | SIZES
    is_tiny = "model" in values
    values |= {"model": str(tiny), **TINY} if is_tiny else {}
    values |= {"elsewhere": few(values["elsewhere"])} if "elsewhere" in values else {}
    values |= {"n_scripts": 3} if path.stem in WHOLE else {}  # more games of each, so that DPO finds pairs
    arms = {name: a for name, a in file.get("arms", {}).items() if not (is_tiny and "camp_weights" in a)}
    arms = {name: changed for name, changed in arms.items() if name not in SELDOM_WON}
    arms = {name: a | {k: v for k, v in SMALLER.items() if k in a} for name, a in arms.items()}
    arms = arms if path.stem in WHOLE else few(arms)
    if path.name == MATRIX:
        values |= {"played_in": [a["world"] for a in arms.values()], "asked": ["maro_where"]}
        file["measures"] = [m for m in file["measures"] if m.endswith((*values["played_in"], "where"))]
    grid = {name: values[:2] for name, values in file.get("grid", {}).items()}
    values = {name: value for name, value in values.items() if name != "run" and name not in grid}
    values |= {"maro_iterations": ROUNDS} if "maro_iterations" in values else {}
    file["only"] = ",".join(number for number in file["only"].split(",") if not LATER.search(number))
    file["measures"] = [measure for measure in file["measures"] if not LATER.search(measure)]
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(file | {"values": values, "arms": arms, "grid": grid, "seeds": 1}, sort_keys=False))
    return copy


def few(cells: dict) -> dict:
    """The first and the last."""
    return dict([*cells.items()][:: max(1, len(cells) - 1)])


@pytest.fixture
def walked(kernels, models, tmp_path, monkeypatch):  # noqa: F811
    """Walks a sweep's file; what it then says, and the folder of what was found."""
    for name, value in {**kernels, "MARO_OUTPUTS": str(tmp_path / "outputs"), NOTES: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sweep, "has_ray", lambda: False)
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)

    def of(path: Path) -> tuple[dict, Path]:
        copy = small(path, tmp_path, models["adapter"])
        assert run_sweep(str(copy)) == 0
        return yaml.safe_load(copy.read_text(encoding="utf-8")), run_folder(path.stem)

    return of


@pytest.mark.walk
def test_the_matrix_of_worlds_reaches_its_page(walked):
    file, folder = walked(ROOT / "params" / "sweeps" / MATRIX)
    tiles = matrix(pd.read_parquet(folder / "results.parquet"))
    assert {*tiles["kind"]} == {measure.removeprefix("goals reached, in ") for measure in file["measures"]}
    assert {*tiles["cell"]} == {*file["arms"]}
    assert (tiles[tiles["own"]]["kind"] == tiles[tiles["own"]]["cell"]).all()
    assert "<h2>What it cost</h2>" in (folder / "sweep.html").read_text()


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[] if p.stem == ALWAYS else [pytest.mark.walk], id=p.stem) for p in OF_MYSTERIES]
)
def test_an_experiment_reaches_its_page(path, walked):
    file, folder = walked(path)
    n_rounds = file["values"].get("maro_iterations", 1)
    results, games = (pd.read_parquet(folder / name) for name in ("results.parquet", "games.parquet"))
    found = results[results["measure"].isin(file["measures"])]
    assert {*found["measure"]} == {*file["measures"]}, "a measure that is asked for is one that is there"
    for measure, own in found.groupby("measure"):
        of_all = measure.endswith("between factions") or measure.startswith("maro_") or measure[0].isdigit()
        assert {*own["who"]} == {"" if of_all else who for who in FACTIONS}
        assert (own.groupby("who")["cell"].nunique() >= 2).all()
    assert {*games["trained"]} == {"nobody", "civilian", "culprit"}
    page = (folder / "sweep.html").read_text()
    assert "<h2>What it cost</h2>" in page
    assert ("<h2>Where it learns</h2>" in page) == file.get("map", False)
    is_in_kinds = "elsewhere" in file.get("values", {})
    assert ("<h2>Trained in, played in</h2>" in page) == is_in_kinds
    shared = [p for p in (folder / POOL).iterdir() if p.is_dir()]
    if is_in_kinds:
        kinds = [*file["arms"]]
        won = results.pivot(index=["cell", "who"], columns="measure", values="value")
        for own, other in (kinds, kinds[::-1]):
            assert won.loc[own][in_kind("games won", own)].equals(won.loc[own]["games won"]), "at home"
            assert won.loc[own][in_kind("games won", other)].equals(won.loc[own]["games won, elsewhere"]), "elsewhere"
        assert len(shared) == len(kinds), "a kind's base plays once, for those at home there and for the others"
    else:
        in_rounds = [arm for arm, changed in file.get("arms", {}).items() if "maro_iterations" in changed]
        base = games[(games["trained"] == "nobody") & ~games["cell"].isin(in_rounds)]  # a later round has its own
        base = base.groupby("cell")["civilians_won"].agg(list)
        assert all(won == base.iloc[0] for won in base), "all cells are compared with the same games of base"
        assert len(shared) == n_rounds + len(in_rounds), "which were played once a round"
