"""Commands: forgiving about form, strict about what is allowed, in time that grows with the text."""

import random
import time

import pytest

from maro_lib.world.protocol import Blank, Command, Illegal
from maro_lib.worlds.commands import Told, at_random, forms_of, numbers, read_command, written

TAKE = Command("TAKE", (Blank("amount", numbers(0, 40)),))
OFFER = Command("OFFER", (Blank("price", numbers(0, 100)), Blank("words")))
ACCEPT, LEAVE = Command("ACCEPT"), Command("LEAVE")
PUNISH = Command("PUNISH", (Blank("whom", ("Ann", "Anna", "Mr Ode")), Blank("points", numbers(0, 3))))
SAY = Command("SAY", (Blank("words"),))
TRADE = (OFFER, ACCEPT, LEAVE)


def told(kind, text="", **values):
    return Told(kind, values, text)


@pytest.mark.parametrize(("commands", "text", "expected"), [
    # one command, said in many ways
    ((TAKE,), "TAKE 7", told("take", amount="7")),
    ((TAKE,), "  **TAKE: 7** ", told("take", amount="7")),
    ((TAKE,), "I think I will TAKE 7.", told("take", amount="7")),
    ((TAKE,), "take 7", told("take", amount="7")),
    ((TAKE,), "Let me see.\n> Take 7 tons", told("take", amount="7")),
    ((TAKE,), "TAKE $7", told("take", amount="7")),
    ((TAKE,), "TAKE \uff17", told("take", amount="7")),  # a full-width seven
    ((TAKE,), "TAKE 07", Illegal("number")),
    # numbers that are no such number
    ((TAKE,), "TAKE 41", Illegal("number")),
    ((TAKE,), "TAKE -7", Illegal("number")),
    ((TAKE,), "TAKE 7.5", Illegal("number")),
    ((TAKE,), "TAKE 7,000", Illegal("number")),
    ((TAKE,), "TAKE 7%", Illegal("number")),
    ((TAKE,), "TAKE .7", Illegal("number")),
    ((TAKE,), "TAKE seven", Illegal("number")),
    ((TAKE,), "TAKE", Illegal("number")),
    ((TAKE,), "TAKE 99999999999999999999", Illegal("number")),
    # no command, or more than one
    ((TAKE,), "", Illegal("empty")),
    ((TAKE,), " \n\t", Illegal("empty")),
    ((TAKE,), "Seven, please.", Illegal("form")),
    ((TAKE,), "I mistake 7 for 8", Illegal("form")),
    ((TAKE,), "we could take 7 of them", Illegal("form")),  # in the middle, and not in capitals
    (TRADE, "ACCEPT", told("accept")),
    (TRADE, "ACCEPT or LEAVE?", Illegal("two")),
    (TRADE, "ACCEPT. I accept!", told("accept")),
    (TRADE, "leave\nI would ACCEPT", told("accept")),  # capitals count before other spellings
    # words of one's own
    (TRADE, "OFFER 40: it is worth more", told("offer", "it is worth more", price="40")),
    (TRADE, "OFFER 40", told("offer", "", price="40")),
    (TRADE, "OFFER 40: ACCEPT, or I LEAVE", told("offer", "ACCEPT, or I LEAVE", price="40")),
    (TRADE, "OFFER: it is worth more", Illegal("number")),
    ((SAY,), "SAY I TAKE 3", told("say", "I TAKE 3")),
    ((SAY,), "SAY:", Illegal("empty")),
    # names, the longest first
    ((PUNISH,), "PUNISH Ann 2", told("punish", whom="Ann", points="2")),
    ((PUNISH,), "PUNISH anna: 2", told("punish", whom="Anna", points="2")),
    ((PUNISH,), "PUNISH Mr Ode, 0", told("punish", whom="Mr Ode", points="0")),
    ((PUNISH,), "PUNISH Annabel 2", Illegal("option")),
    ((PUNISH,), "PUNISH Bob 2", Illegal("option")),
    ((PUNISH,), "PUNISH Ann", Illegal("number")),
])  # fmt: skip
def test_a_reply_is_understood_or_its_fault_is_named(commands, text, expected):
    assert read_command(commands, text) == expected


@pytest.mark.parametrize("command", [TAKE, OFFER, ACCEPT, PUNISH, SAY], ids=lambda c: c.word)
def test_what_is_written_is_read_again(command):
    rng = random.Random(0)
    for _ in range(50):
        values = {b.name: rng.choice(b.options) if b.options else "some words: 1, 2" for b in command.blanks}
        read = read_command((TAKE, *TRADE, PUNISH, SAY), written(command, values))
        assert read.kind == command.word.lower()
        assert {**read.values, **({"words": read.text} if read.text else {})} == values
    assert isinstance(read_command(TRADE, at_random(TRADE, rng, "Why not?")), Told)


def test_forms_fill_in_a_command_each():
    offer, accept, _ = forms_of(TRADE)
    assert (offer.title, [b.name for b in offer.blanks]) == ("offer", ["price", "words"])
    assert offer.say({"price": "40", "words": "please"}) == "OFFER 40: please"
    assert offer.say({"price": "40", "words": ""}) == "OFFER 40"
    assert accept.say({}) == "ACCEPT"


@pytest.mark.parametrize("text", ["TAKE " * 50_000, "TAKE" + " " * 200_000 + "7", "T" * 200_000, "\n>" * 100_000,
                                  "OFFER 1 " * 50_000, "1" * 200_000])  # fmt: skip
def test_endless_replies_are_read_in_bounded_time(text):
    began = time.process_time()
    for _ in range(20):
        read_command((TAKE, *TRADE, PUNISH), text)
    assert time.process_time() - began < 2
