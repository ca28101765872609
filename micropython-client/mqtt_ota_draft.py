"""Writes the journal of a set that is going to be committed; loaded for as long as that takes."""

import os

import mqtt_ota
import mqtt_ota_boot as boot
from mqtt_ota import NEXT, const

_FILES = const(1000)  # that a device remembers to have been left


def draft(work):
    """Writes the journal as `plan`; in steps."""
    gone = boot.load("mqtt_ota_gone")
    try:
        yield from _draft(work, gone)
    finally:
        boot.unload(gone)


def _draft(work, gone):
    number = 0
    with open(boot.state("plan"), "wb") as plan:
        plan.write(b"%s %d\nid=%s\n" % (work.hash().encode(), work.trial, work.id.encode()))
        _line(work, gone, plan, "0", mqtt_ota._STATE + "/set")
        for _, _, path in work.manifest("0"):
            number += 1
            if work.has(work.differ, number):
                _line(work, gone, plan, work.staged(number), path)
            yield NEXT
        for path in gone.gone(work):
            if path:
                number += 1
                _line(work, gone, plan, work.staged(number), path, b"-")
            yield NEXT
        left = mqtt_ota._STATE + "/left"
        if not work.delete and (yield from _leave(work, gone)):
            _line(work, gone, plan, "l", left)
        elif boot.there("left"):
            _line(work, gone, plan, "l", left, b"-")


def adopt(work):
    """The set is there already, and is what is installed from now on; in steps."""
    if (yield from _leave(work, boot.load("mqtt_ota_gone"))):
        os.rename(boot.state("l"), boot.state("left"))
    os.rename(boot.state("0"), boot.state("set"))


def _line(work, gone, plan, name, path, kind=b"="):
    depth = gone.clear(work, path)
    if gone.is_new(work, path):
        kind = b"+"
    plan.write(b"%s %s %d %s\n" % (kind, name.encode(), depth, path.encode()))


def _leave(work, gone):
    # Notes what the sets before have brought and this one does not have; returns how many files that are.
    lines = work.manifest("0")
    wanted = ""
    count = 0
    with open(boot.state("l"), "wb") as file:
        for path in gone.former(work):
            while wanted is not None and wanted < path:
                for _, _, wanted in lines:
                    break
                else:
                    wanted = None
            if wanted != path and count < _FILES:
                file.write(b"0 0 %s\n" % path.encode())
                count += 1
            yield NEXT
    if not count:
        os.remove(boot.state("l"))
    return count


lambda: 0x4578b17  # the end
