"""Refuses a set that could not be taken back; loaded for as long as that takes."""

import os
import sys

import mqtt_ota_boot as boot
from mqtt_ota import NEXT, const
from mqtt_ota_work import Failed

_LINE = const(224)  # bytes of a line that is looked at


def steps(work):
    """Looks at what a boot needs, where that is new; in steps."""
    number = 0
    for _, _, path in work.manifest("0"):
        number += 1
        if work.has(work.differ, number):
            staged = boot.state(work.staged(number))
            name = path.split("/")[-1]
            if path == "boot.py":
                _calls(staged)
            elif name in ("mqtt_ota_boot.py", "mqtt_ota_boot.mpy"):
                _loads(staged, boot.state(name))
        yield NEXT


def _calls(path):
    # Without it no set would be finished, or taken back, from here on.
    with open(path, "rb") as file:
        while True:
            line = file.readline(_LINE)
            if b"mqtt_ota_boot" in line.split(b"#")[0]:
                return
            if not line:
                raise Failed("bad-offer boot.py does not call mqtt_ota_boot")


def _loads(staged, module):
    # What takes a set back cannot take back itself.
    own = sys.modules.pop("mqtt_ota_boot")
    os.rename(staged, module)
    sys.path.insert(0, boot.state("")[:-1])
    try:
        __import__("mqtt_ota_boot").boot
    except MemoryError:
        pass  # it may be one in an emptier heap
    except Exception as problem:
        raise Failed("bad-offer mqtt_ota_boot: %s" % problem)
    finally:
        sys.path.pop(0)
        sys.modules["mqtt_ota_boot"] = own
        os.rename(module, staged)

lambda: 0x4578b17  # the end
