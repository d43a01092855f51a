"""Kernels for tests that run many notebooks, forked from one process that has imported everything: they start at once.

python warm_kernels.py serve SOCKET          imports, then makes a kernel for everybody who asks
python warm_kernels.py ask SOCKET FILE ...   what a kernel specification starts: stands for its kernel until it ends
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

HEAVY = ("pandas", "pyarrow.parquet", "matplotlib.pyplot", "transformers.models.qwen2", "transformers.models.llama",
         "bitsandbytes", "peft", "maro_lib.learn.training", "maro_lib.study.harness", "maro_lib.show.figures",
         "ipykernel.kernelapp", "ipykernel.ipkernel", "matplotlib_inline.backend_inline")  # fmt: skip


@contextlib.contextmanager
def warm_kernels(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which `python3` notebooks get such kernels."""
    import subprocess

    place, spec = folder / "socket", folder / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-S", __file__, "ask", str(place), "{connection_file}"]
    kernel = {"argv": argv, "display_name": "Python 3", "language": "python", "interrupt_mode": "signal"}
    (spec / "kernel.json").write_text(json.dumps(kernel))
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    server = subprocess.Popen([sys.executable, __file__, "serve", str(place)], env=environment,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert server.stdout.readline() == b"ready\n"
        yield {"JUPYTER_PATH": str(folder)}
    finally:
        server.kill()
        server.wait()


def serve(place: str) -> None:
    """Import, then fork a kernel for each that asks, until the test's process is gone."""
    from importlib import import_module

    for name in HEAVY:
        import_module(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(place)
    listening.listen()
    threading.Thread(target=lambda: os._exit(len(sys.stdin.buffer.read())), daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    print("ready", flush=True)
    while True:
        asker, _ = listening.accept()
        if os.fork() == 0:
            be_kernel(asker)
        asker.close()


def be_kernel(asker: socket.socket) -> None:
    """Be the kernel of whoever asked, in its folder and environment, until one of both ends."""
    from ipykernel.kernelapp import IPKernelApp

    asked = json.loads(asker.makefile("rb").readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.cpu_count = lambda: 1  # as on a GPU nothing runs side by side: other processes would import everything anew
    sys.path[0] = ""
    asker.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=lambda: asker.recv(1) or os._exit(1), daemon=True).start()
    IPKernelApp.launch_instance(argv=["-f", *asked["options"]])
    os._exit(0)


def ask(place: str, *options: str) -> None:
    """Ask for a kernel and wait until it ends; a signal is handed on."""
    environment = {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"} | {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline"
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        asked = {"folder": os.getcwd(), "environment": environment, "options": options}
        server.sendall(json.dumps(asked).encode() + b"\n")
        answer = server.makefile("rb")
        pid = int(answer.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        answer.read()


if __name__ == "__main__":
    {"serve": serve, "ask": ask}[sys.argv[1]](*sys.argv[2:])
