"""Stands in for a board's own module, where the unix port has no such hardware: says what it is told."""

import os
import sys
import time


def reset():
    print("reset")
    # No finaliser and no buffer comes between: like a reset, and like a power cut.
    os.system("kill -9 $PPID")


def deepsleep(ms):
    print("sleeps", ms)
    reset()


def unique_id():
    return b"\x01\x02\x03\x04"


class Pin:
    IN, OUT, PULL_UP, IRQ_FALLING = range(4)

    def __init__(self, number, *_, value=1):
        self.number, self.level = number, value

    def __call__(self, level=None):
        if level is None:
            return self.level
        self.level = level
        print("pin", self.number, level)

    value = __call__

    def on(self):
        self(1)

    def off(self):
        self(0)
