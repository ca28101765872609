"""Makes room for the files of a set, and fetches them; loaded for as long as that takes."""

import os
import sys

import mqtt_ota
import mqtt_ota_boot as boot
from mqtt_ota import NEXT, Failed, const
from mqtt_ota_transfer import blocks, size_of, unhexlify

_LINE = const(224)  # bytes of a line that is looked at
_NO_SPACE = const(28)  # MicroPython's errno has no ENOSPC
_BOOT = ("mqtt_ota_boot.py", "mqtt_ota_boot.mpy")


def stage(work):
    """Makes room, and fetches what is missing; in steps."""
    try:
        yield from _reserve(work)
        yield from _fetch(work)
    except OSError as error:
        if error.args[:1] == (_NO_SPACE,):
            work.forget_staged()  # there was enough, but for something else that was written
        raise


def _reserve(work):
    # Makes sure that there is room, and only then gives up that the set before can be taken back.
    transfer = work.transfer
    for name in "part", "part.of", "l", "mqtt_ota_boot.py", "mqtt_ota_boot.mpy":  # of something else
        boot.quietly(os.remove, boot.state(name))
    gain = 0
    if boot.there("last"):
        block = os.statvfs(transfer.root)[1]
        journal = boot.load("mqtt_ota_journal")
        for _, number, _, _ in journal.lines("last"):
            gain += max(blocks(size_of(boot.state("k" + number)), block) - 1, 0)  # may be less than a block
            yield NEXT
        boot.unload(journal)
    transfer.room(work.need - gain)
    if boot.there("last") or boot.there("drop"):
        yield from boot.phase("mqtt_ota_journal", "forget", "last")
    if work.name == "set":  # it is installed, but something else has changed its files
        work.forget_staged()
        yield from work.copy(boot.state("set"), "0")


def _fetch(work):
    transfer = work.transfer
    number = 0
    for digest, size, path in work.manifest("0"):
        number += 1
        part = boot.state(work.staged(number))
        if work.has(work.missing, number):
            last = number
            if transfer._next != number:
                while work.has(work.missing, last + 1) and not boot.there(work.staged(last + 1)):
                    last += 1
            mqtt_ota.folder(part[: part.rfind("/")])
            yield from transfer.fetch(number, last, part, unhexlify(digest), int(size))
        if work.has(work.differ, number):
            name = path.split("/")[-1]
            if path == "boot.py":
                _calls(part)
            elif name in _BOOT:
                _loads(part, boot.state(name))
        yield NEXT
    transfer.close()


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
