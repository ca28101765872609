"""Writes the journal of a set that is going to be committed; loaded for as long as that takes."""

import os
from binascii import hexlify

import mqtt_ota_boot as boot
from mqtt_ota import NEXT, const
from mqtt_ota_work import STATE

_FILES = const(1000)  # that a device remembers to have been left


def steps(work):
    """Writes the journal as `plan`; in steps."""
    with open(boot.state("plan"), "wb") as plan:
        plan.write(b"%s %d\nid=%s\n" % (hexlify(work.offer.digest), work.offer.trial, work.offer.id.encode()))
        for name, call in ("mqtt_ota_clear", _files), ("mqtt_ota_gone", _gone):
            module = boot.load(name)
            try:
                yield from call(work, module, plan)
            finally:
                boot.unload(module)


def adopt(work):
    """The set is there already, and is what is installed from now on; in steps."""
    gone = boot.load("mqtt_ota_gone")
    try:
        if (yield from _leave(work, gone)):
            os.rename(boot.state("l"), boot.state("left"))
    finally:
        boot.unload(gone)
    os.rename(boot.state("0"), boot.state("set"))


def _files(work, clear, plan):
    number = 0
    _own(plan, "0", "set")
    for _, _, path in work.manifest("0"):
        number += 1
        if work.has(work.differ, number):
            kind = b"+" if clear.is_new(work, path) else b"="
            _line(plan, kind, work.staged(number), clear.clear(work, path), path)
        yield NEXT
    work.count = number


def _gone(work, gone, plan):
    number = work.count
    for path in gone.gone(work):
        if path:
            number += 1
            _line(plan, b"-", work.staged(number), max(path.rfind("/"), 0), path)
        yield NEXT
    if not work.offer.delete and (yield from _leave(work, gone)):
        _own(plan, "l", "left")
    elif boot.there("left"):
        _line(plan, b"-", "l", len(STATE), STATE + "/left")


def _own(plan, name, target):
    # A file of the client's.
    _line(plan, b"=" if boot.there(target) else b"+", name, len(STATE), STATE + "/" + target)


def _line(plan, kind, name, depth, path):
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
