"""What processes side by side are given to do in tests; in a module that is imported at once."""

import atexit
import os
import signal
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Square:
    """A job that says what it begins with, and who does it."""

    n: int

    def __call__(self, tell):
        tell(self.n)
        if self.n < 0:
            raise ValueError(f"{self.n} has no side")
        return self.n**2, os.getpid(), os.environ["OMP_NUM_THREADS"]


@dataclass(frozen=True)
class Killed:
    def __call__(self, tell):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Sleeper:
    seconds: float = 60.0

    def __call__(self, tell):
        tell(os.getpid())
        time.sleep(self.seconds)


@dataclass(frozen=True)
class SlowToEnd:
    def __call__(self, tell):
        atexit.register(time.sleep, 2)
        Sleeper()(tell)
