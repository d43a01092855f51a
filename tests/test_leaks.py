"""The leak check finds leaks: each way of leaking is built in once and must be seen."""

import pytest
from worlds import varied_scripts, worlds

from maro_lib.play.leaks import PUBLIC, find_leaks, plant
from maro_lib.world import mystery
from maro_lib.world.generator import Knobs, generate
from maro_lib.world.mystery import MurderMystery

RICH = generate(4, Knobs(characters=5, culprits=2, private_clues=3, stages=2, ending="open"))


@pytest.mark.parametrize("name", [*worlds(), *varied_scripts()])
def test_no_secret_reaches_another_view(name):
    assert find_leaks((worlds() | varied_scripts())[name], seeds=(0, 1)) == []


def test_every_private_text_is_marked():
    planted = plant(RICH)
    n_sections = sum(len(c.sections) * 6 + len(c.goals) for c in RICH.characters)
    assert len(planted.owners) == n_sections + len(RICH.clues)
    owners = [owner for owner, where in planted.owners.values() if where.startswith("clue ")]
    assert owners == [c.private_to or PUBLIC for c in RICH.clues]


def test_a_prompt_with_the_askers_secrets_is_found(monkeypatch):
    begin = MurderMystery._begin_answer

    def leaky(self, player, asker, question):
        begin(self, player, asker, question + self.script.characters[asker].sections[0].story)

    monkeypatch.setattr(MurderMystery, "_begin_answer", leaky)
    assert any("story" in leak.where for leak in find_leaks(RICH))


def test_a_private_clue_told_to_all_is_found(monkeypatch):
    def leaky(self, player, line, event):
        for i in range(len(self.names)):
            self.now.seats[i].events.append(event)

    monkeypatch.setattr(MurderMystery, "tell", leaky)
    assert find_leaks(RICH, seeds=range(6))


def test_a_swapped_system_message_is_found(monkeypatch):
    right = mystery.system_message
    monkeypatch.setattr(mystery, "system_message", lambda s, i, n: right(s, (i + 1) % len(s.names), n))
    assert find_leaks(RICH, seeds=(0,))


def test_a_secret_that_its_owner_never_reads_is_found(monkeypatch):
    monkeypatch.setattr(mystery, "_sections", lambda character, stage, book: "")
    assert any("did not arrive" in leak.where for leak in find_leaks(RICH, seeds=(0,)))
