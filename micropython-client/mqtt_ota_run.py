"""Runs the application; loaded if `mqtt_ota_boot.run` is called, and stays as long as that runs."""

import os
import sys

import mqtt_ota_boot as boot
from mqtt_ota_boot import const, load

try:
    from time import ticks_ms
except ImportError:
    from mqtt_ota_python import ticks_ms

_ROW = const(600000)  # ms


def run(name):
    """Imports the application, unless it has died three times in a row. What kills it is noted, and the board reset."""
    since = ticks_ms()
    try:
        if len(boot.read("crashes")) > 2 and not boot.there("trial"):
            load("mqtt_ota_safe").serve()
        __import__(name)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as problem:  # asyncio's CancelledError is no Exception
        try:
            # Counted here, as the application may have left a full heap. Ten minutes of running end a row of crashes.
            crashes = boot.read("crashes")[:2] if 0 <= ticks_ms() - since < _ROW else ""
            boot.quietly(os.mkdir, boot.state("")[:-1])
            with open(boot.state("crashes"), "wb") as file:
                file.write((crashes + ".").encode())
            load("mqtt_ota_safe").crashed(problem)
        except Exception as problem:  # such as a heap that is full
            print("mqtt_ota_boot:", problem)
        boot.restart()


lambda: 0x4578b17  # the end
