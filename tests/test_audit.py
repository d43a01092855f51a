"""The audit tells a good script from a bad one, and says what is bad about it."""

import subprocess
import sys
from pathlib import Path

import pytest

from maro_lib.play.audit import Audit, audit, audit_path, count_words
from maro_lib.world.generator import Knobs, generate
from maro_lib.world.mystery import MurderMystery
from maro_lib.world.scripts import ScriptError, bundled, dump_script

GOOD = generate(0, Knobs(characters=4))
MIRAGE = Path(__file__).parent / "fixtures" / "mirage"


def lines(report):
    return dict(report.lines)


@pytest.mark.parametrize("name", sorted(bundled()))
def test_bundled_cases_have_no_problem(name):
    report = audit(bundled()[name], n_games=20)
    assert report.problems == []
    assert lines(report)["solvable"] == "yes"
    assert lines(report)["truth text names them"] == "yes"


def test_a_case_without_its_clues_is_not_solvable():
    bare = GOOD.model_copy(update={"clues": tuple(c.model_copy(update={"facts": ()}) for c in GOOD.clues)})
    report = audit(bare, n_games=5)
    assert lines(report)["solvable"] == "no"
    assert "the clues do not leave exactly the culprits" in report.problems


def test_a_truth_that_names_somebody_else_is_a_problem():
    civilian = next(n for n in GOOD.names if n not in GOOD.culprits)
    wrong = GOOD.model_copy(update={"truth": GOOD.truth.model_copy(update={"text": f"{civilian} did it."})})
    assert audit(wrong, n_games=5).problems == [f"truth.text does not name {GOOD.culprits[0]}"]


def test_a_leak_is_a_problem(monkeypatch):
    begin = MurderMystery._begin_answer

    def leaky(self, player, asker, question):
        begin(self, player, asker, question + self.script.characters[asker].sections[0].script)

    monkeypatch.setattr(MurderMystery, "_begin_answer", leaky)
    problems = audit(GOOD, n_games=5).problems
    assert any(p.startswith("script, stage 1 of ") for p in problems), problems


def test_skill_is_seen_in_the_win_rates():
    report = lines(audit(GOOD, n_games=100))
    random, skilled = (float(report[f"civilians win, {who}"].split()[0]) for who in ("random", "skilled"))
    assert skilled > random + 50
    assert report["civilians win, skilled"].endswith("(n = 100)")


def test_words_are_counted_and_chinese_characters():
    assert count_words("Don't move: two well-known words.") == 5
    assert count_words("他在灯下 at 9") == 6


def test_a_tokenizer_counts_tokens():
    report = lines(audit(GOOD, n_games=5, count_tokens=lambda text: len(text)))
    assert report["view at the start"].endswith("tokens")
    assert "tokens per view" not in report


def test_every_way_to_name_scripts(tmp_path, capsys):
    for name in ("one", "two"):
        dump_script(GOOD, tmp_path / f"{name}.yaml")
    for path, n in {str(tmp_path): 2, str(tmp_path / "one.yaml"): 1, "quiet_hours": 1}.items():
        assert audit_path(path, n_games=2)
        assert capsys.readouterr().out.count("truth text names them") == n
    audit_path(str(MIRAGE), n_games=2)
    told = capsys.readouterr().out
    assert told.startswith("Night at the Museum (SUC, en, prose)\n")
    assert "The Last Bow: not loaded: " in told
    with pytest.raises(ScriptError, match=r"quiet_hour: no script there.*quiet_hours"):
        audit_path("quiet_hour")


def test_each_script_is_told_as_soon_as_it_is_done(tmp_path, monkeypatch, capsys):
    """A checkout takes minutes: what was audited so far is there, and the bar says how far that is."""
    for name in ("one", "two"):
        dump_script(GOOD, tmp_path / f"{name}.yaml")
    seen = []
    monkeypatch.setattr(
        "maro_lib.play.audit.audit", lambda script, **_: seen.append(capsys.readouterr()) or Audit("it")
    )
    audit_path(str(tmp_path), progress=True)
    assert [shown.out for shown in seen] == ["", "it\n\n"]
    assert "0/2" in seen[0].err
    assert "1/2" in seen[1].err


def command(*words):
    return subprocess.run([sys.executable, "-m", "maro_lib", "audit", *words], capture_output=True, text=True)


def test_the_command_says_good_by_exit_code(tmp_path):
    dump_script(GOOD, tmp_path / "good.yaml")
    done = command(str(tmp_path / "good.yaml"), "--games", "5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no secret reached another view" in done.stdout
    (tmp_path / "bad.yaml").write_text(dump_script(GOOD).replace("faction: culprit", "faction: clprit"))
    done = command(str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert "bad.yaml" in done.stderr
    assert ".faction: Input should be 'culprit' or 'civilian'; got 'clprit'" in done.stderr
