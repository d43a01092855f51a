"""A person's seat in a real JupyterLab, in a real browser, by the keyboard."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from servers import free_port
from test_report import CHROMIUM

from maro_lib.play.shards import read_table
from maro_lib.play.sitting import people_played
from maro_lib.runs import ROOT

CELLS = [
    "from maro_lib.show import Table, sit\nfrom maro_lib.world import Rules\n"
    'seat = sit(Table({"civilian": "Ada"}, "skilled", rules=Rules(rounds=1), run="lab"))\nseat',
    "seat.debrief()",
]

MINE = "div[style*='0,114,178']"  # what this person said
ASKED = "document.querySelector('button.mod-primary') || /The game is over/.test(document.body.innerText)"


@contextlib.contextmanager
def lab(folder):
    """A JupyterLab with one notebook."""
    cells = [{"cell_type": "code", "source": s, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{k}"}
             for k, s in enumerate(CELLS)]  # fmt: skip
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}
    (folder / "seat.ipynb").write_text(json.dumps(notebook))
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}", "--IdentityProvider.token=",
               f"--ServerApp.root_dir={folder}", "--allow-root"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MARO_OUTPUTS": str(folder / "outputs")}
    with open(folder / "log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            yield _when_up(f"http://127.0.0.1:{port}/lab/tree/seat.ipynb?reset")
        finally:
            server.terminate()


def _when_up(address):
    for _ in range(60):
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return address
        time.sleep(1)
    raise TimeoutError(address)


def answer(page, k):
    """Fill in the first form, and press its button by the keyboard."""
    for buttons in page.locator(".widget-toggle-buttons").all():
        buttons.locator("button").nth(1).click()
    words, lists = page.locator(".widget-textarea textarea"), page.locator(".widget-dropdown select")
    if lists.count():
        lists.first.select_option(index=1)
    if words.count():
        words.first.click()
        page.keyboard.type(f"Where were you when it happened, number {k}?")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    else:
        page.locator("button.mod-primary").first.click()


@pytest.mark.walk
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_whole_game_is_played_and_every_sign_arrives(tmp_path):
    from playwright.sync_api import sync_playwright

    with lab(tmp_path) as address, sync_playwright() as play_:
        page = play_.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        page.goto(address)
        page.locator(".jp-Cell").first.click()
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=90_000)
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector("button.mod-primary", timeout=90_000)
        for k in range(12):
            if page.get_by_text("The game is over").count():
                break
            n_said = page.locator(MINE).count()
            answer(page, k)
            page.wait_for_function(f'document.querySelectorAll("{MINE}").length > {n_said}', timeout=30_000)
            page.wait_for_function(ASKED, timeout=30_000)
        page.locator(".jp-CodeCell").nth(1).click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector("text=You were", timeout=60_000)
    people = tmp_path / "outputs" / "lab" / "people"
    assert list(people_played(people)["policies"][0]).count("person Ada") == 1
    actions = read_table(next(p for p in people.iterdir() if p.is_dir()), "actions")
    spoken = actions[(actions["policy"] == "person Ada") & actions["phase"].isin(["intro", "answer", "turn"])]["text"]
    assert spoken.str.fullmatch(r".*Where were you when it happened, number \d+\?").all()
