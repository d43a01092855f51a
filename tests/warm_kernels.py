"""Kernels for tests that run many notebooks, forked from one process that has imported everything: they start at once.

python warm_kernels.py serve SOCKET          imports, then makes a kernel for everybody who asks
python warm_kernels.py ask SOCKET FILE ...   what a kernel specification starts: stands for its kernel until it ends

A kernel whose environment names a folder as KERNEL_NOTES notes there the models that were alive whenever it loaded
another, and its processor's seconds.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

HEAVY = ("pandas", "pyarrow.parquet", "matplotlib.pyplot", "transformers.models.qwen2", "transformers.models.llama",
         "bitsandbytes", "peft", "maro_lib.learn.training", "maro_lib.study.harness", "maro_lib.show.figures",
         "ipykernel.kernelapp", "ipykernel.ipkernel", "matplotlib_inline.backend_inline")  # fmt: skip

NOTES, LOADS, SECONDS = "KERNEL_NOTES", "loads", "seconds"
IMPORTED = "imported"  # what importing everything took, of the processor's seconds; lies in the environment's folder


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
    Path(place).with_name(IMPORTED).write_text(str(time.process_time()))
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
    if NOTES in os.environ:
        note_loads()
    IPKernelApp.launch_instance(argv=["-f", *asked["options"]])
    if NOTES in os.environ:
        note(SECONDS, time.process_time())
    os._exit(0)


def note(file: str, what: object) -> None:
    with open(Path(os.environ[NOTES]) / file, "a") as notes:
        print(json.dumps(what), file=notes)


def note_loads() -> None:
    """Before a model is loaded, note which cell's line asks for it, and how many others are alive."""
    from transformers import PreTrainedModel

    plain = PreTrainedModel.from_pretrained.__func__

    def noted(cls, *args, **options):
        gc.collect()  # as before a large one: models have circles
        kinds = [type(x) for x in gc.get_objects()]
        others = [kind for kind in kinds if issubclass(kind, PreTrainedModel) and kind.can_generate()]
        cells = [f.line for f in traceback.extract_stack() if "ipykernel_" in f.filename]
        note(LOADS, [len(others), cells[-1] if cells else ""])
        return plain(cls, *args, **options)

    PreTrainedModel.from_pretrained = classmethod(noted)


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
