"""Cuts the power at every block write of an update that mqtt_ota installs, and boots what is left.

    micropython [-X heapsize=8m] power_loss.py [--twice] [--short] [--every=N] [--break=HOW] FILE_SYSTEM SIZE...

Installs a main.py of each SIZE in turn, each over the one before, by an offer through the client's own
code and a real connection. Every erase and every program is recorded; then the power is lost at each:
before it (clean), and when only a first part of it has come about (torn: at a quarter, at the half and
at three quarters; with several sizes at the half). From each such image the device boots, is looked at,
and has to take a next update, which is looked at too. Prints one line with what was counted.

FILE_SYSTEM  lfs2-32, lfs2-256 (the program size, in bytes), lfs1, fat-flash or fat-sd
--twice      the power is lost again at every block write of the next boot and the next update
--short      the sender is lost after half of each file, before the power is
--every=N    only every N-th operation is cut, for a quick look
--break=HOW  remove-first or in-place: makes the client an unsafe one, to show that this finds it out

A tear is between two bytes: what a real chip's bits do while its supply fails is not known here.
"""

import os
import sys

import mqtt_ota
import mqtt_ota_load
from cuts import ROOT, STATE, Disk, content, listed
from senders import Sender

MAIN = "main.py"

COUNTED = (
    "operations",
    "root folder rewritten",  # LittleFS appends to a folder's block, until that is full
    "clean cuts",
    "torn cuts",
    "second cuts",
    # Each cut has one of these outcomes, by what main.py is after the boot.
    "old",
    "new",
    "missing",
    "damaged",
    "not mountable",
    # And any of these.
    "temporary file left",
    "damaged by the next boot",
    "other files damaged",
    "litter",
    "next update failed",
    "space lost",
)


OTHERS = {
    "boot.py": content("boot.py", 139),
    "settings.json": content("settings.json", 620),
    "lib/__init__.py": b"",
    "lib/driver.py": content("lib/driver.py", 5000),
    "lib/table.bin": content("lib/table.bin", 700),
}
FOLDERS = ("", "lib")
NEXT = (content("next", 1300), content("the one after", 1300))


def client(reset):
    return mqtt_ota.Ota("NIGHTLAMP", root=ROOT, reset=reset)


class Proof:
    """What was found at all the cuts."""

    def __init__(self, kind, largest, splits, twice, short, every):
        self.splits = splits
        self.every = every
        self.twice = twice
        self.short = short
        self.board = Disk(kind)  # what is updated without a cut
        self.victim = Disk(kind)  # what is cut
        self.sender = Sender()
        self.buffer = bytearray(max(largest, 5000) + 1)  # one byte more shows what is too long
        self.free = 0  # blocks that are free after the next update, if nothing was lost
        self.counts = {name: 0 for name in COUNTED}

    def count(self, name):
        self.counts[name] += 1

    def prepare(self, main):
        self.board.format()
        self.board.boot()
        for folder in FOLDERS[1:]:
            os.mkdir(ROOT + "/" + folder)
        for path, file in list(OTHERS.items()) + [(MAIN, main)]:
            with open(ROOT + "/" + path, "wb") as output:
                output.write(file)

    def update(self, old, new):
        """Installs `new` over `old`, and tries every cut of that."""
        device = self.board.device
        before = bytearray(device.image)
        operations = self.record(new)
        self.counts["operations"] += len(operations)
        for block in self.board.root:
            self.counts["root folder rewritten"] += operations.count(device.erasure(block))
        self.victim.device.image[:] = device.image
        self.free = None
        self.count("clean cuts")
        if self.look(old, new) != (old if self.short else new):
            raise AssertionError("without a cut main.py is not what the client said")
        for torn in self.victim.cuts(before, operations, self.splits, self.every):
            self.count("torn cuts" if torn else "clean cuts")
            self.look(old, new)
        if before != device.image:
            raise AssertionError("what was recorded is not what was done")

    def record(self, new):
        """What an update does to the flash."""
        device = self.board.device
        self.board.boot()
        told = []
        reset = []
        ota = client(lambda: reset.append(len(device.operations)))
        operations = self.board.recorded(
            lambda: self.sender.installs(ota, MAIN, new, lambda: told.append(len(device.operations)), self.short)
        )
        # Once the client says that the file is installed, nothing may be left that a cut could undo.
        expected = [] if self.short else [len(operations)]
        if told != expected or reset != expected:
            raise AssertionError("%d writes; installed after %s, reset after %s" % (len(operations), told, reset))
        return operations

    def look(self, old, new, again=False):
        """Boots the victim and counts what is there; returns what main.py is if it is one of the two."""
        device = self.victim.device
        left = bytearray(device.image) if self.twice and not again else None
        try:
            self.victim.boot()
        except OSError:
            self.count("not mountable")
            return None
        main = self.main(old, new)
        others = self.others()
        if not others:
            self.count("other files damaged")
        litter = self.litter()
        if "new" in listed(STATE):
            self.count("temporary file left")
        device.operations = [] if left else None
        ota = client(lambda: None)
        if litter or listed(STATE):
            self.count("litter")
        if main is not None and self.stored(MAIN) != main:
            self.count("damaged by the next boot")
        self.update_next(ota, NEXT[again], others)
        if left and main is not None:
            operations, device.operations = device.operations, None
            for _ in self.victim.cuts(left, operations, (0.5,)):
                self.count("second cuts")
                self.look(main, NEXT[0], True)
        return main

    def main(self, old, new):
        """Counts what main.py is; returns it if it is one of the two."""
        main = self.stored(MAIN)
        if main == old:
            self.count("old")
            return old
        if main == new:
            self.count("new")
            return new
        self.count("missing" if main is None else "damaged")
        return None

    def update_next(self, ota, file, others):
        """One more update, which has to work whatever the cut left."""
        try:
            done = self.sender.installs(ota, MAIN, file)
            self.victim.boot()
            done = done and self.stored(MAIN) == file and not listed(STATE) and self.others() == others
            free = os.statvfs(ROOT)[3]
        except OSError:
            done = False
        if not done:
            self.count("next update failed")
            return
        if self.free is None:
            self.free = free
        if free < self.free:
            self.count("space lost")

    def stored(self, path):
        """What a file holds, as far as that fits into the buffer; None if it is not there."""
        path = ROOT + "/" + path
        try:
            os.stat(path)
        except OSError:
            return None
        try:
            with open(path, "rb") as file:
                return memoryview(self.buffer)[: file.readinto(self.buffer)]
        except OSError:
            return b"not readable"

    def others(self):
        """Whether the files that no update concerns are as they were."""
        for path, file in OTHERS.items():
            if self.stored(path) != file:
                return False
        return True

    def litter(self):
        """Whether there is anything that nobody has put there, beside the client's own folder."""
        for folder in FOLDERS:
            for name in listed(folder):
                path = folder + "/" + name if folder else name
                if path not in OTHERS and path not in FOLDERS and path not in (MAIN, STATE):
                    return True
        return listed(STATE) not in ([], ["new"])


class RemovesFirst:
    """An `os` whose rename takes the old file away before it brings the new one."""

    def __getattr__(self, name):
        return getattr(os, name)

    def rename(self, old, new):
        try:
            os.remove(new)
        except OSError:
            pass
        os.rename(old, new)


class RenamesNothing(RemovesFirst):
    """An `os` for a client that has written over the old file already."""

    def rename(self, old, new):
        pass

    def stat(self, path):
        return os.stat(path.replace(STATE + "/new", MAIN))


class Flushed:
    """The old file in place of the temporary one, flushed after each chunk: LittleFS commits it then."""

    def __init__(self, path):
        self.file = open(path.replace(STATE + "/new", MAIN), "wb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, part):
        self.file.write(part)
        self.file.flush()


def break_client(how):
    class Os:
        remove_first = RemovesFirst
        in_place = RenamesNothing

    fake = getattr(Os, how.replace("-", "_"))()
    load = mqtt_ota_load.load

    def loads(name):
        module = load(name)
        if name == "mqtt_ota_single":
            module.os = fake
            if how == "in-place":
                module.open = lambda path, mode: Flushed(path) if mode == "wb" else open(path, mode)
        return module

    mqtt_ota_load.load = loads


def run(arguments):
    options = [argument for argument in arguments if argument.startswith("--")]
    every = 1
    for option in options:
        if option.startswith("--break="):
            break_client(option[8:])
        elif option.startswith("--every="):
            every = int(option[8:])
        elif option not in ("--twice", "--short"):
            raise ValueError(option)
    kind, *sizes = arguments[len(options) :]
    sizes = [int(size) for size in sizes]
    if kind == "fat-sd":
        splits = ()
    elif len(sizes) == 1:
        splits = (0.25, 0.5, 0.75)
    else:
        splits = (0.5,)
    proof = Proof(kind, max(sizes), splits, "--twice" in options, "--short" in options, every)
    old = content("old", sizes[0])
    proof.prepare(old)
    for number, size in enumerate(sizes):
        new = content("new %d" % number, size)
        proof.update(old, new)
        if not proof.short:
            old = new
    what = "%d bytes" % sizes[0] if len(sizes) == 1 else "%d updates" % len(sizes)
    counts = ["%d %s" % (proof.counts[name], name) for name in COUNTED]
    print("%s: %s" % (" ".join([kind, what] + options), ", ".join(counts)))


run(sys.argv[1:])
