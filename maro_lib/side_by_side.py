"""Side by side: independent jobs in processes of their own, one core each; they end with their caller.

A small model's operations are too short for two threads to share: a second process beside the first does more than a
second thread in it. What a job computes is the same either way, so a caller has its work done ahead, side by side, and
then goes its ordinary way, which finds it done. Used in notebook 05.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

Tell = Callable[[Any], None]  # what a job calls to say how far it is
Task = Callable[[Tell], Any]  # can be pickled, as can what it tells and returns
NEWS, RESULT, FAILURE = "news", "result", "failure"
GRACE = 10.0  # seconds that a process has to end by itself
THREADS = "OMP_NUM_THREADS"


class SideBySideError(RuntimeError):
    """A process ended early, or its job failed; the message holds what it said."""


def run_tasks(
    tasks: Sequence[Task], n_processes: int, on_news: Callable[[int, Any], None] = lambda *_: None
) -> list[Any]:
    """Do all tasks, `n_processes` at a time; return their results in order. `on_news` hears who tells what."""
    queue, results = deque(enumerate(tasks)), {}
    with _workers(min(n_processes, len(tasks))) as pipes:
        busy = {pipe: _hand_on(pipe, queue) for pipe in pipes if queue}
        while busy:
            for pipe in wait(list(busy)):
                kind, content = _heard(pipe)
                if kind == FAILURE:
                    raise SideBySideError(content)
                if kind == NEWS:
                    on_news(busy[pipe], content)
                    continue
                results[busy.pop(pipe)] = content
                if queue:
                    busy[pipe] = _hand_on(pipe, queue)
    return [results[k] for k in range(len(tasks))]


def _hand_on(pipe: Connection, queue: deque[tuple[int, Task]]) -> int:
    number, task = queue.popleft()
    pipe.send(task)
    return number


def _heard(pipe: Connection) -> tuple[str, Any]:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return FAILURE, "a process ended early (too little memory?); run it again: it goes on from what was saved"


@contextlib.contextmanager
def _workers(n: int) -> Iterator[list[Connection]]:
    """Start n processes with a thread each; none of them outlives the `with`."""
    context, workers = multiprocessing.get_context("spawn"), []
    try:
        with _one_thread():
            for _ in range(n):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(there,), daemon=True)
                process.start()
                there.close()
                workers.append((process, here))
        yield [pipe for _, pipe in workers]
    finally:
        for process, pipe in workers:
            pipe.close()
            process.terminate()
        for process, _ in workers:
            process.join(GRACE)
            process.kill()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """What is started meanwhile computes with one thread."""
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _work(pipe: Connection) -> None:
    """Do what comes, one task after the other."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal: the caller ends its workers
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(EOFError):
        while True:
            task = pipe.recv()
            try:
                answer = RESULT, task(lambda news: pipe.send((NEWS, news)))
            except Exception as error:
                answer = FAILURE, _in_words(error)
            pipe.send(answer)
    os._exit(0)  # nothing is left to do, and a late SIGTERM finds nobody who could complain of it


def _end(*_: object) -> None:
    """What is half done is noted; whoever is ending hears of no second SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _in_words(error: Exception) -> str:
    """An error of ours says all; of another one it must be seen where it came from."""
    ours = type(error).__module__.startswith("maro_lib.")
    return f"{type(error).__name__}: {error}" if ours else "".join(traceback.format_exception(error))


def _end_with_caller() -> None:
    """End at once when the caller is gone, `kill -9` included."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
