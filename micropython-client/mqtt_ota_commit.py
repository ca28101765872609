"""Commits a set, after it has kept copies of what that replaces; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import NEXT
from mqtt_ota_work import folder, move


def steps(work):
    """Keeps copies of what the journal says is replaced, and commits; in steps."""
    journal = boot.load("mqtt_ota_journal")
    try:
        yield from _copies(work, journal)
    finally:
        boot.unload(journal)
    if hasattr(os, "sync"):
        os.sync()
    os.rename(boot.state("plan"), boot.state("commit"))


def _copies(work, journal):
    for kind, name, _, path in journal.lines("plan"):
        if kind != "+":
            if "/" in name:
                folder(boot.state("k" + name[: name.find("/")]))
            with open(boot.state("k" + name), "wb") as copy:
                yield from move(work.ota.root + path, copy.write, work.ota._chunk)


def hidden(work):
    """What hides one of the files that are new. The set is in place: nothing may go wrong here."""
    number = 0
    detail = ""
    try:
        module = boot.load("mqtt_ota_single")
        for path in work.paths("set"):
            number += 1
            detail = detail or work.has(work.differ, number) and module.hidden(work.ota.root, path)
            yield NEXT
        boot.unload(module)
    except Exception:  # what is loaded here may be of the new set
        pass
    return detail or ""


lambda: 0x4578b17  # the end
