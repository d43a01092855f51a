"""Sweeps on Ray: real ones, with two nodes on this machine, and whatever can be killed is killed.

The notebook of these sweeps notes when it starts and when it ends, and waits in between as long as a file is there.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from waiting import wait_for

from maro_lib.model.ahead import games_left
from maro_lib.model.players import Player
from maro_lib.play.rollout import Played, play, schedule
from maro_lib.run.cluster import Node, check_room, places
from maro_lib.run.slices import Slices, play_slices
from maro_lib.run.sweep_file import SweepFile
from maro_lib.runs import ROOT, RunError
from maro_lib.world import Knobs, Rules, generate_many

pytest.importorskip("ray")

NOTEBOOKS = Path(__file__).parent / "fixtures" / "notebooks" / "watched"
GAMES = "question: How many?\nvalues: {n_games: 4}\ngrid: {n_games: [1, 2, 3]}\nonly: '02'\n"
TRIALS = ["n_games-1", "n_games-2", "n_games-3"]
SECONDS = 300  # that anything may take, on a machine that does other things too
WITHOUT_RAY = "import sys; sys.modules['ray'] = None; from maro_lib.run.sweep import run_sweep; sys.exit(run_sweep"
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # a token would be written into the home of whoever runs the tests
    "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "2000",
}  # fmt: skip


class Sweep:
    """A folder with a sweep's file, the notes of its notebooks, and the commands that run it."""

    def __init__(self, folder: Path, address: str):
        self.folder, self.notes = folder, folder / "notes"
        self.environment = os.environ | {"MARO_OUTPUTS": str(folder / "outputs")} | {"RAY_ADDRESS": address}
        self.environment.pop("OMP_NUM_THREADS", None)
        self.notes.mkdir()
        self.set(GAMES)

    def set(self, text: str) -> None:
        (self.folder / "which.yaml").write_text(text)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "maro_lib", "sweep", "which.yaml", "--notebooks", str(NOTEBOOKS)]

    def run(self, command: list[str] | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            command or self.command(), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=SECONDS,
        )  # fmt: skip

    @contextlib.contextmanager
    def held_at(self, n: int) -> Iterator[subprocess.Popen]:
        """Start a sweep and wait until some notebooks wait."""
        (self.notes / "hold").touch()
        process = subprocess.Popen(
            self.command(), cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            wait_for(lambda: len(self.noted("started")) >= n or process.poll() is not None, SECONDS)
            assert process.poll() is None, process.communicate()
            yield process
        finally:
            self.go_on()
            process.kill()
            process.communicate()
            for kernel in self.kernels():
                os.kill(kernel, signal.SIGKILL)

    def go_on(self) -> None:
        (self.notes / "hold").unlink(missing_ok=True)

    def noted(self, what: str) -> list[list[str]]:
        """Return what notebooks noted: whole lines only."""
        path = self.notes / what
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def kernels(self) -> list[int]:
        return [int(line[1]) for line in self.noted("started") if is_alive(int(line[1]))]

    def ended(self) -> list[str]:
        return sorted(line[0].removeprefix("which/") for line in self.noted("ended"))

    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "outputs" / "which" / "results.parquet")

    def check_all_ended_once(self, n: int = 3) -> None:
        assert self.ended() == TRIALS[:n]
        games = self.table().query("measure == '02 games'")
        assert games[["trial", "value"]].to_numpy().tolist() == [[f"n_games-{k + 1}", k + 1] for k in range(n)]


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def head() -> Iterator:
    """A cluster with one node, which has room for one trial."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:  # fmt: skip
        for name, value in (ENVIRONMENT | {"RAY_TMPDIR": folder}).items():  # where it notes its address
            patch.setenv(name, value)
        (Path(folder) / "ray").mkdir()
        made = Cluster(True, head_node_args=SMALL | {"temp_dir": folder})
        yield made
        made.shutdown()


SMALL = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture
def cluster(head):
    """The cluster with its second node, a new one where a test killed it."""
    if not head.worker_nodes:
        head.add_node(**SMALL, node_name="second")
    wait_for(lambda: n_alive(head) == 2, SECONDS)
    return head


@pytest.fixture
def sweep(cluster, tmp_path) -> Sweep:
    return Sweep(tmp_path, cluster.address)


# --- the same as without -------------------------------------------------------------------------------


def test_a_ray_of_its_own_makes_what_one_process_makes(tmp_path, monkeypatch):
    """With what is shared, and a trial that fails; afterwards nothing of it runs."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("one", "ray"):
        (tmp_path / name).mkdir()
    alone, ray = Sweep(tmp_path / "one", ""), Sweep(tmp_path / "ray", "")
    for sweep in (alone, ray):
        sweep.environment["OMP_NUM_THREADS"] = "3"
        sweep.set("question: a\nvalues: {n_games: 3}\ngrid: {gamma: [0.25, 0.75]}\ncpus: 0.5\n")
    in_turn = alone.run([sys.executable, "-c", f"{WITHOUT_RAY}('which.yaml', notebooks={str(NOTEBOOKS)!r}))"])
    ended = ray.run()
    assert "\nOne after the other (pip install -e '.[ray]' runs several at a time)" in in_turn.stdout
    assert "\non Ray: 1 node, " in ended.stdout
    assert f", up to {2 * os.cpu_count()} trials at a time\n" in ended.stdout
    for done in (in_turn, ended):
        assert done.returncode == 1, done.stderr
        assert done.stderr == ""
        assert "1 finished of 2 trials" in done.stdout
        assert "gamma-0.75 failed: AssertionError: too much (03_decomposition)" in done.stdout
    pd.testing.assert_frame_equal(ray.table(), alone.table())
    assert ray.noted("started")[0][2] == "3", "threads are as the command has them"
    log = (ray.folder / "outputs" / "which" / "gamma-0.25" / "log.txt").read_text()
    assert "[2/2] 03_decomposition: done in" in log


# --- games in slices -------------------------------------------------------------------------------------


def played_in(folder: Path, n: int = 60, slices: Slices | None = None, **more) -> Played:
    """Play scripted games into a folder, in slices on Ray if so asked."""
    games = schedule(generate_many(5, 0, Knobs()), n, 0, Rules(rounds=1))
    player = Player("mixture", **more)
    with player.seated() as players:
        if slices:
            play_slices(games, player, players, folder, slices)
            assert not games_left(games, players, folder), "`play` has nothing left to play"
        return play(games, players, folder=folder)


def check_same(one: Played, other: Played) -> None:
    for name in ("games", "actions", "dialogues"):
        pd.testing.assert_frame_equal(one.table(name), other.table(name))


@pytest.mark.walk
@pytest.mark.parametrize("address", ["", "slices"])
def test_slices_on_two_nodes_make_what_one_process_makes(cluster, address, tmp_path, monkeypatch):
    """On a disk that nodes share, and by an address; what was played before stays as it is."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    slices = Slices(5, slices_at=f"file://{tmp_path / address}" if address else "")
    played_in(tmp_path / "sliced", n=7)
    check_same(played_in(tmp_path / "sliced", slices=slices), played_in(tmp_path / "alone"))
    assert not [*tmp_path.glob(".sliced-*")], "no slice is left"
    assert not address or not [*(tmp_path / address).iterdir()]


@pytest.mark.walk
def test_a_slice_that_fails_is_said_and_the_others_games_are_kept(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    (tmp_path / ".sliced-1").write_text("a file where a folder is to be")
    with pytest.raises(RunError, match=r"a slice of the games: .*What was played is kept"):
        played_in(tmp_path / "sliced", slices=Slices(2))
    (tmp_path / ".sliced-1").unlink()
    check_same(played_in(tmp_path / "sliced", slices=Slices(2)), played_in(tmp_path / "alone"))


def test_slices_that_fit_no_node_are_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(RunError, match="gpus: a slice asks for 1, and no node of Ray has more than 0"):
        played_in(tmp_path / "sliced", slices=Slices(2, slice_gpus=1.0))


# --- what is killed ------------------------------------------------------------------------------------


def test_a_node_that_is_lost_loses_no_trial_and_none_ends_twice(sweep, cluster):
    with sweep.held_at(2) as driver:
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        wait_for(lambda: len(sweep.kernels()) == 1 or len(sweep.noted("started")) == 3, SECONDS)
        sweep.go_on()
        out, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 0, out
    assert "on Ray: 2 nodes, 2 CPUs, up to 2 trials at a time" in out
    sweep.check_all_ended_once()


@pytest.mark.walk
def test_a_worker_that_is_killed_is_followed_by_another_once_its_kernel_has_ended_too(sweep):
    sweep.set(GAMES.replace("[1, 2, 3]", "[1, 2]"))  # so that there is room for the other at once
    with sweep.held_at(2) as driver:
        kernel = sweep.kernels()[0]
        worker = parent(kernel)
        os.kill(kernel, signal.SIGSTOP)  # so that it can't notice
        os.kill(worker, signal.SIGKILL)
        log = sweep.folder / "outputs" / sweep.noted("started")[0][0] / "log.txt"
        wait_for(lambda: log.read_text().count("==") == 2, SECONDS)
        time.sleep(5)
        assert log.read_text().count(": running") == 1, "nothing writes beside a kernel that still lives"
        os.kill(kernel, signal.SIGCONT)
        wait_for(lambda: len(sweep.noted("started")) == 3, SECONDS)
        assert not is_alive(kernel)
        sweep.go_on()
        out, _ = driver.communicate(timeout=SECONDS)
    assert driver.returncode == 0, out
    sweep.check_all_ended_once(2)
    assert {line[2] for line in sweep.noted("started")} == {"1"}, "threads are as the trial's cpus"


@pytest.mark.walk
def test_a_driver_that_is_killed_takes_its_workers_along_and_the_same_command_goes_on(sweep):
    with sweep.held_at(2) as driver:
        sweep.go_on()
        wait_for(lambda: len(sweep.noted("ended")) == 2, SECONDS)
        (sweep.notes / "hold").touch()
        wait_for(lambda: len(sweep.noted("started")) == 3, SECONDS)
        driver.kill()
        driver.wait()
        wait_for(lambda: not sweep.kernels(), SECONDS)
    done = sweep.run()
    assert done.returncode == 0, done.stderr
    assert len(sweep.noted("started")) == 4, "what had ended is not run again"
    sweep.check_all_ended_once()


@pytest.mark.walk
def test_a_second_driver_is_refused_and_an_interrupted_one_leaves_nothing_that_runs(sweep):
    with sweep.held_at(2) as driver:
        second = sweep.run()
        assert second.returncode == 1
        assert f"outputs/which is in use by process {driver.pid}, started " in second.stderr
        driver.send_signal(signal.SIGTERM)
        out, err = driver.communicate(timeout=SECONDS)
        assert (driver.returncode, sweep.kernels()) == (130, []), out + err
        assert err.startswith("\nInterrupted. ")
    assert sweep.ended() == []


# --- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "sentence"), [
    ("cpus: 3", "cpus: a trial asks for 3, and no node of Ray has more than 1; lower it in the parameter file"),
    ("gpus: 0.5", "gpus: a trial asks for 0.5, and no node of Ray has more than 0"),
])  # fmt: skip
def test_what_fits_no_node_is_refused_before_anything_runs(sweep, asked, sentence):
    sweep.set(GAMES + asked + "\n")
    done = sweep.run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert sentence in done.stderr
    assert not sweep.noted("started")


def test_room_is_that_of_one_node_not_of_all_together():
    file = SweepFile(question="a", cpus=2, gpus=0.5)
    small, large = Node("1", "small", 3, 0), Node("2", "large", 5, 2)
    assert places(file, [small, large]) == 2
    check_room(file, [small, large])
    with pytest.raises(RunError, match="cpus: a trial asks for 4, and no node of Ray has more than 3"):
        check_room(SweepFile(question="a", cpus=4), [small, small])
    with pytest.raises(RunError, match="asks for 2 CPUs and 1 GPUs, and no node of Ray has both"):
        check_room(SweepFile(question="a", cpus=2, gpus=1), [small, Node("3", "card", 1, 1)])
    with pytest.raises(RunError, match=r"cpus: 1.5; Ray gives parts of one, or whole ones"):
        check_room(SweepFile(question="a", cpus=1.5), [small])


@pytest.mark.parametrize(("address", "sentence"), [
    ("127.0.0.1:1", "RAY_ADDRESS=127.0.0.1:1: nobody answers there ("),
    ("nonsense", "RAY_ADDRESS=nonsense: can't be used: "),
])  # fmt: skip
def test_an_address_where_nobody_answers_is_a_sentence_within_seconds(tmp_path, address, sentence):
    start, sweep = time.monotonic(), Sweep(tmp_path, address)
    done = sweep.run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert sentence in done.stderr
    assert time.monotonic() - start < 40


@pytest.mark.walk
def test_nodes_without_the_package_or_the_outputs_are_named_before_anything_runs(sweep, cluster, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "maro_lib.py").write_text("raise ImportError('No module named maro_lib')\n")
    bare = cluster.add_node(**SMALL, node_name="bare", env_vars={"PYTHONPATH": str(empty)})
    try:
        with blind_node(cluster, sweep.folder / "outputs"):
            done = sweep.run()
    finally:
        cluster.remove_node(bare, allow_graceful=False)
    assert done.returncode == 1
    assert "node bare (" in done.stderr
    assert "): has not this package (No module named maro_lib); install it there as here\n" in done.stderr
    assert "): does not see the outputs (outputs/which); share it under the same path\n" in done.stderr
    assert done.stderr.count("\nnode ") == 2, "the other two are fine"
    assert not sweep.noted("started")


@contextlib.contextmanager
def blind_node(cluster, outputs: Path) -> Iterator[None]:
    """A node that has another folder in the place of the outputs, as a machine of its own would."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no folder of its own to a process")
    outputs.mkdir()
    start = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
    options = f"start --address {cluster.address} --block --num-cpus 1 --object-store-memory 80000000"
    process = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', outputs, sys.executable, "-c", start,
         *options.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: n_alive(cluster) == 4, SECONDS)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def n_alive(cluster) -> int:
    return sum(node["Alive"] for node in cluster.global_state.node_table())
