"""What CPython has under other names than MicroPython; no board needs it."""

import os
from time import monotonic, sleep

const = int
ticks_diff = int.__sub__


def ticks_ms():
    return int(monotonic() * 1000)


def sleep_ms(ms):
    sleep(ms / 1000)


def ilistdir(folder):
    """The name and the kind of each entry."""
    return [(entry.name, 0x4000 if entry.is_dir() else 0x8000) for entry in os.scandir(folder)]


lambda: 0x4578b17  # the end
