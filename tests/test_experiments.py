"""The experiments that come along, walked to their page: the real notebooks, with sizes made small."""

import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import yaml
from test_notebook_params import NOTES, kernels, models  # noqa: F401

from maro_lib.play.pool import POOL
from maro_lib.run import sweep
from maro_lib.run.sweep import run_sweep
from maro_lib.runs import ROOT, run_folder

matplotlib.use("Agg")

SIZES = {
    "n_games": 12, "n_scripts": 6, "n_compare": 4, "n_counterfactual": 2, "n_samples": 1, "batch": 8, "n_dialogues": 16,
    "n_views": 2, "n_matches": 4, "n_match_scripts": 4, "n_check_games": 2, "progress": False, "n_cross": 2,
    "n_cross_scripts": 2,
}  # fmt: skip
FILES = sorted((ROOT / "params" / "sweeps").glob("*.yaml"))
ALWAYS = "balancing"
ROUNDS = 2  # of those that have several
LATER = re.compile(rf"\bround[_ ]([^1-{ROUNDS}]|\d\d)")


def small(path: Path, folder: Path, real: Path) -> Path:
    """Return a copy of a sweep's file with its first two cells and two rounds, on one seed; a tiny model is `real`."""
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = yaml.safe_load((ROOT / file.pop("of")).read_text(encoding="utf-8")) | file.get("values", {}) | SIZES
    arms = dict([*file.get("arms", {}).items()][:2])
    grid = {name: values[:2] for name, values in file.get("grid", {}).items()}
    values = {name: value for name, value in values.items() if name != "run" and name not in grid}
    values |= {"model": str(real), "max_new_tokens": 12} if "model" in values else {}
    values |= {"maro_iterations": ROUNDS} if "maro_iterations" in values else {}
    file["only"] = ",".join(number for number in file["only"].split(",") if not LATER.search(number))
    file["measures"] = [measure for measure in file["measures"] if not LATER.search(measure)]
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(file | {"values": values, "arms": arms, "grid": grid, "seeds": 1}, sort_keys=False))
    return copy


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[] if p.stem == ALWAYS else [pytest.mark.walk], id=p.stem) for p in FILES]
)
def test_an_experiment_reaches_its_page(path, kernels, models, tmp_path, monkeypatch):  # noqa: F811
    for name, value in {**kernels, "MARO_OUTPUTS": str(tmp_path / "outputs"), NOTES: str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sweep, "has_ray", lambda: False)
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)
    copy = small(path, tmp_path, models["adapter"])
    assert run_sweep(str(copy)) == 0
    folder, file = run_folder(path.stem), yaml.safe_load(copy.read_text(encoding="utf-8"))
    measures, n_rounds = file["measures"], file["values"].get("maro_iterations", 1)
    results, games = (pd.read_parquet(folder / name) for name in ("results.parquet", "games.parquet"))
    found = results[results["measure"].isin(measures)]
    assert {*found["measure"]} == {*measures}, "a measure that is asked for is one that is there"
    for measure, own in found.groupby("measure"):
        of_all = measure.endswith("between factions") or measure[0].isdigit()  # a headline's
        sides = {""} if of_all else {"civilian", "culprit"}
        assert {*own["who"]} == sides
        assert (own.groupby("who")["cell"].nunique() >= 2).all()
    assert {*games["trained"]} == {"nobody", "civilian", "culprit"}
    base = games[games["trained"] == "nobody"].groupby("cell")["civilians_won"].agg(list)
    assert all(won == base.iloc[0] for won in base), "all cells are compared with the same games of base"
    assert len([p for p in (folder / POOL).iterdir() if p.is_dir()]) == n_rounds, "which were played once a round"
    assert "<h2>What it cost</h2>" in (folder / "sweep.html").read_text()
