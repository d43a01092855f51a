"""Terms: whose words an export holds, and whether they may be passed on.

What the kit can't know is left to the user, and the card says so. Used by all parts with a card.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from maro_lib.model.adapter_files import AdapterError, base_of
from maro_lib.model.gguf import SMOLLM2
from maro_lib.model.players import SCRIPTED
from maro_lib.model.shipped import SHIPPED
from maro_lib.play.gamebook import load_gamebook
from maro_lib.play.shards import read_scripts
from maro_lib.runs import located, portable
from maro_lib.share.source import Source
from maro_lib.world.mirage import is_mirage, known_title
from maro_lib.world.phrases import CheckedWords, read_words, sentence
from maro_lib.world.scripts import bundled

OF_THE_KIT = (*SCRIPTED, "mixture", *SHIPPED, SMOLLM2)  # players whose words are free
FREE, UNSETTLED = "apache-2.0", "unknown"  # as the hub spells them


class TermWords(CheckedWords):
    """What a card says of whose words it comes with."""

    kit_scripts: str
    mirage: str
    own_scripts: str
    kit_model: str = sentence("model")
    other_model: str = sentence("model")


TERM_WORDS = read_words(Path(__file__).with_name("words") / "terms.yaml", TermWords)


class Terms(NamedTuple):
    """Under what something may be passed on."""

    licence: str
    told: str
    is_restricted: bool = False  # not to be published as it is


def terms_of(source: Source) -> Terms:
    """Say whose words a run's games are made of."""
    scripts, model = _of_scripts(source), _of_model(source)
    licence = FREE if FREE == scripts.licence == model.licence else UNSETTLED
    return Terms(licence, f"{scripts.told} {model.told}", scripts.is_restricted)


def _of_scripts(source: Source) -> Terms:
    given = load_gamebook(source.at("gamebook.json")).script
    if not given or given in bundled():
        return Terms(FREE, TERM_WORDS.kit_scripts)
    titles = (script.title for script in read_scripts(source.at("rollout")).values())
    if is_mirage(located(given)) or any(map(known_title, titles)):
        return Terms(UNSETTLED, TERM_WORDS.mirage, is_restricted=True)
    return Terms(UNSETTLED, TERM_WORDS.own_scripts)


def _of_model(source: Source) -> Terms:
    name = root_model(source)
    if name in OF_THE_KIT:
        return Terms(FREE, TERM_WORDS.kit_model.format(model=name))
    return Terms(UNSETTLED, TERM_WORDS.other_model.format(model=portable(name)))


def root_model(source: Source) -> str:
    """Return the model at the root of what plays."""
    try:
        return base_of(source.model)
    except AdapterError:  # its folder says nothing
        return source.model
