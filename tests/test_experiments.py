"""The experiments that come along, walked to their page: the real notebooks, with sizes made small."""

from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import yaml
from test_notebook_params import NOTES, kernels  # noqa: F401

from maro_lib.play.pool import POOL
from maro_lib.run import sweep
from maro_lib.run.sweep import run_sweep
from maro_lib.runs import ROOT, run_folder

matplotlib.use("Agg")

SIZES = {
    "n_games": 12, "n_scripts": 6, "n_compare": 4, "n_counterfactual": 2, "n_samples": 1, "batch": 8, "epochs": 0.5,
    "n_views": 2, "n_matches": 4, "n_match_scripts": 4, "n_check_games": 2, "progress": False,
}  # fmt: skip
FILES = sorted((ROOT / "params" / "sweeps").glob("*.yaml"))
ALWAYS, WHOLE = "balancing", ("rivals",)  # walked in `make test`; with all arms
SMALLER = {"epochs": 0.5, "n_online": 6, "maro_iterations": 2}  # in an arm


def small(path: Path, folder: Path) -> Path:
    """Return a copy of a sweep's file with its first two cells (of some: with all), on one seed."""
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = yaml.safe_load((ROOT / file.pop("of")).read_text(encoding="utf-8")) | file.get("values", {}) | SIZES
    values |= {"n_scripts": 3} if path.stem in WHOLE else {}  # more games of each, so that DPO finds pairs
    arms = dict([*file.get("arms", {}).items()][: None if path.stem in WHOLE else 2])
    arms = {name: changed | {k: v for k, v in SMALLER.items() if k in changed} for name, changed in arms.items()}
    grid = {name: values[:2] for name, values in file.get("grid", {}).items()}
    values = {name: value for name, value in values.items() if name != "run" and name not in grid}
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(file | {"values": values, "arms": arms, "grid": grid, "seeds": 1}, sort_keys=False))
    return copy


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[] if p.stem == ALWAYS else [pytest.mark.walk], id=p.stem) for p in FILES]
)
def test_an_experiment_reaches_its_page(path, kernels, tmp_path, monkeypatch):  # noqa: F811
    for name, value in {**kernels, "MARO_OUTPUTS": str(tmp_path / "outputs"), NOTES: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sweep, "has_ray", lambda: False)
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)
    assert run_sweep(str(small(path, tmp_path))) == 0
    folder, file = run_folder(path.stem), yaml.safe_load(path.read_text(encoding="utf-8"))
    measures = file["measures"]
    results, games = (pd.read_parquet(folder / name) for name in ("results.parquet", "games.parquet"))
    found = results[results["measure"].isin(measures)]
    assert {*found["measure"]} == {*measures}, "a measure that is asked for is one that is there"
    for measure, own in found.groupby("measure"):
        sides = {""} if measure.endswith("between factions") else {"civilian", "culprit"}
        assert {*own["who"]} == sides
        assert (own.groupby("who")["cell"].nunique() >= 2).all()
    assert {*games["trained"]} == {"nobody", "civilian", "culprit"}
    in_rounds = [arm for arm, changed in file.get("arms", {}).items() if "maro_iterations" in changed]
    base = games[(games["trained"] == "nobody") & ~games["cell"].isin(in_rounds)]  # a later round has games of its own
    base = base.groupby("cell")["civilians_won"].agg(list)
    assert all(won == base.iloc[0] for won in base), "all cells are compared with the same games of base"
    n_played = len([p for p in (folder / POOL).iterdir() if p.is_dir()])
    assert n_played == 1 + len({*in_rounds} & {*games["cell"]}), "which were played once"
    assert "<h2>What it cost</h2>" in (folder / "sweep.html").read_text()
