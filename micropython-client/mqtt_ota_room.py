"""Makes room for the files of a set; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import NEXT
from mqtt_ota_work import blocks, move, room, size_of


def steps(work):
    """Makes sure that there is room, and only then gives up that the set before can be taken back; in steps."""
    root = work.ota.root
    for name in "part", "part.of", "l", "mqtt_ota_boot.py", "mqtt_ota_boot.mpy":  # of something else
        boot.quietly(os.remove, boot.state(name))
    gain = 0
    if boot.there("last"):
        block = os.statvfs(root)[1]
        journal = boot.load("mqtt_ota_journal")
        for _, number, _, _ in journal.lines("last"):
            gain += max(blocks(size_of(boot.state("k" + number)), block) - 1, 0)  # may be less than a block
            yield NEXT
        boot.unload(journal)
    room(root, work.need - gain)
    if boot.there("last") or boot.there("drop"):
        yield from boot.phase("mqtt_ota_journal", "forget", "last")
    if work.name == "set":  # it is installed, but something else has changed its files
        yield from forget_staged()
        with open(boot.state("0"), "wb") as copy:
            yield from move(boot.state("set"), copy.write, work.ota._chunk)


def forget_staged():
    """Removes what is staged for a manifest, and that; yields after each folder."""
    for number in range(64):
        folder = boot.state("s%d" % number)
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            os.remove(folder + "/" + name)
        os.rmdir(folder)
        yield NEXT
    for name in os.listdir(boot.state("")[:-1]):
        if name.isdigit():  # the manifest; 0.1 had the files beside it
            boot.quietly(os.remove, boot.state(name))

lambda: 0x4578b17  # the end
