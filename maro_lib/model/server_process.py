"""A server that lives as long as the run that needs it: started, awaited, and stopped whatever happens.

Between the run and the server stands a watchdog: this file, run as a program. It holds the reading end of a pipe
whose writing end is the run's. When the run closes it, or dies of whatever cause (`kill -9` included), the watchdog
ends the server's whole process group. The kernel's own signal for this (PR_SET_PDEATHSIG) reaches one process only,
not a server's workers, and is tied to the thread that started it. What the server prints goes through the watchdog
into the log, with keys masked.

Standard library only: the watchdog starts in a bare interpreter. Used by the notebooks that play with `server_command`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

POLL = 0.1  # seconds
TAIL = 20  # lines of a log that an error shows
PIECE = 2**16  # bytes of a line that are copied at once


class ServerStartError(RuntimeError):
    """A server can't be started; the message says why, and shows the end of its log."""


@contextmanager
def serving(
    command: str, url: str, *, wait: float = 600.0, log: Path | str, grace: float = 10.0, keys: Sequence[str] = ()
) -> Iterator[None]:
    """Run a server while the block runs: entered when `url` answers, left when the server is gone.

    `command` is split like a shell's line (leading NAME=value words set its environment; a value that is all $NAME is
    that variable's), but no shell sees it. An empty one starts nothing: the server at `url` is somebody else's. The log
    shows no variable of the environment that is called like a key, or is one of `keys`.
    """
    from maro_lib.credentials import key_names, reference  # not above: the watchdog has the standard library only

    if not command.strip():
        yield
        return
    (words, environment), log = startable(command, url), Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    masked = key_names(environment, *keys, *map(reference, re.split(r"[\s=]", command)))
    with open(log, "wb") as output:
        watchdog = subprocess.Popen(
            [sys.executable, "-I", __file__, str(grace), ",".join(masked), *words], env=environment,
            start_new_session=True, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _await(watchdog, url, wait, log)
        yield
    finally:
        watchdog.stdin.close()
        watchdog.wait()  # it ends `grace` seconds later at most


def startable(command: str, url: str) -> tuple[list[str], dict[str, str]]:
    """Return a command's words and its environment; raise if its program is not there, or its port is not free."""
    words, environment = _split(command)
    if _is_open(_address(url)):
        raise ServerStartError(
            f"{url}: already in use, so `{words[0]}` is not started; stop what answers at that address, "
            "choose another port in `server_command` and `server_url`, or leave `server_command` empty to play with "
            "the server that runs"
        )
    return words, environment


def is_answering(url: str, timeout: float = 5.0) -> bool:
    """Whether a server at this address is ready to be asked."""
    answers = {path: _status(url, path, timeout) for path in ("/v1/models", "/health")}
    return 200 in answers.values() or answers["/v1/models"] in (401, 403)  # a key is needed, so somebody is there


def _split(command: str) -> tuple[list[str], dict[str, str]]:
    """Return a command's words, its program as a path, and its environment; the interpreter's own folder goes first."""
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ServerStartError(f"server_command: {command!r} can't be read: {error}") from None
    while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0], re.DOTALL):
        name, _, value = words.pop(0).partition("=")
        environment[name] = _variable(value, environment)
    words = [option + equals + _variable(value, environment)
             for word in words for option, equals, value in [_last_part(word)]]  # fmt: skip
    if not words:
        raise ServerStartError(f"server_command: {command!r} names no program")
    program = shutil.which(words[0], path=environment["PATH"])
    if program is None:
        raise ServerStartError(
            f"server_command: there is no program `{words[0]}`; install what brings it (vLLM: in an environment of its "
            "own, then give its path; `transformers serve`: pip install 'transformers[serving]')"
        )
    return [program, *words[1:]], environment


def _last_part(word: str) -> tuple[str, str, str]:
    """Split an option from its value: --name=value; any other word is all value."""
    option, equals, value = word.partition("=")
    return (option, equals, value) if equals and option.startswith("-") else ("", "", word)


def _variable(value: str, environment: Mapping[str, str]) -> str:
    """Return what $NAME stands for; any other value is itself."""
    from maro_lib.credentials import reference

    if not (name := reference(value)):
        return value
    if not environment.get(name):
        raise ServerStartError(f"server_command: the environment variable {name} is not set; export it before the run")
    return environment[name]


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServerStartError(f"server_url: {url!r}; an address like http://localhost:8000 is needed")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _is_open(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=2):
        return True
    return False


def _status(url: str, path: str, timeout: float) -> int | None:
    """Ask for one page, without proxies or redirects; return the status of the answer."""
    kind = http.client.HTTPSConnection if url.startswith("https") else http.client.HTTPConnection
    connection = kind(*_address(url), timeout=timeout)
    try:
        connection.request("GET", urlsplit(url).path.rstrip("/").removesuffix("/v1") + path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _await(watchdog: subprocess.Popen, url: str, wait: float, log: Path) -> None:
    """Return when the server answers; raise when it has ended, or does not answer in time."""
    end = time.monotonic() + wait
    while not is_answering(url, timeout=min(5.0, max(end - time.monotonic(), POLL))):
        if (code := watchdog.poll()) is not None:
            raise ServerStartError(f"the server ended (exit code {code}) before {url} answered.{_end_of(log)}")
        if time.monotonic() > end:
            raise ServerStartError(
                f"the server did not answer at {url} within {wait:g} s and was stopped; is it the address that the "
                f"command serves? A large model needs longer: raise `server_wait`.{_end_of(log)}"
            )
        time.sleep(POLL)


def _end_of(log: Path) -> str:
    """The last lines of a log, for an error."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()[-TAIL:]
    return "\n".join([f" The end of {log}:", *(f"  {line}" for line in lines)]) if lines else f" {log} is empty."


# --- the watchdog: another process -------------------------------------------------------------------


def watch(grace: float, keys: Sequence[bytes], command: Sequence[str]) -> int:
    """Run a command until it ends or standard input does; leave nothing of its process group behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    copying = threading.Thread(target=_copy, args=(server.stdout, keys), daemon=True)
    copying.start()
    try:
        while server.poll() is None and not _run_is_gone():
            pass
        code = server.poll() or 0
        return 128 - code if code < 0 else code  # ended by a signal: as a shell says it
    finally:
        end_group(server, grace)
        copying.join(1.0)  # whoever left the group may hold its end for ever


def _copy(said: BinaryIO, keys: Sequence[bytes]) -> None:
    """Copy what a server says into the log, keys masked, also one that is cut in two."""
    rest, longest = b"", max(map(len, keys), default=1)
    for piece in iter(lambda: said.readline(PIECE), b""):
        rest += piece
        for key in keys:
            rest = rest.replace(key, b"[key]")
        whole = len(rest) if rest.endswith(b"\n") else max(0, len(rest) - longest + 1)
        _write(rest[:whole])
        rest = rest[whole:]
    _write(rest)


def _write(data: bytes) -> None:
    with contextlib.suppress(OSError):  # a full disk costs lines, not the server, which waits for its reader
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _run_is_gone() -> bool:
    """Wait a moment for the end of the pipe."""
    return bool(select.select([0], [], [], POLL)[0]) and not os.read(0, 1)


def end_group(server: subprocess.Popen, grace: float) -> None:
    """Ask a process group to end; end it after `grace` seconds."""
    _signal_group(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    values = {os.environ.get(name, "").strip().encode() for name in sys.argv[2].split(",")}
    found = sorted((value for value in values if len(value) >= 4), key=len, reverse=True)
    sys.exit(watch(float(sys.argv[1]), found, sys.argv[3:]))
