"""A set of files, all or nothing: what is done with an offer of one, phase by phase.

Each phase is a module of its own, which is there for as long as it takes, so that a set fits into a small heap:

    mqtt_ota_check    fetches the manifest, and refuses what the protocol does not allow
    mqtt_ota_plan     compares it with what there is; mqtt_ota_gone tells what is to be deleted
    mqtt_ota_stage    makes room, and fetches what is missing
    mqtt_ota_draft    writes the journal
    mqtt_ota_commit   keeps copies of what is replaced, and commits
    mqtt_ota_journal  puts the files in place, here or in the next boot; it tells what lies in the client's folder
"""

import gc
import os
from binascii import hexlify

import mqtt_ota
import mqtt_ota_boot as boot
import mqtt_ota_transfer
from mqtt_ota import Failed, const

_LINE = const(224)  # bytes of a manifest's line, with its end: a hash, a length and a path


class Set:
    """What the phases of a set hand on, and share."""

    def __init__(self, transfer, digest, dry, options):
        self.transfer = transfer
        self.digest = digest
        self.dry = dry
        self.id = options["id"]
        self.delete = (None, "set", "all").index(options.get("delete"))
        self.trial = mqtt_ota_transfer.number(options.get("trial", "3"), 999)
        if not self.trial:
            raise ValueError
        self.name = ""  # of the manifest, in the client's folder
        self.differ = self.missing = None  # a bit for each line: the device has it not; nor is it staged
        self.need = 0  # blocks

    def hash(self):
        """The set's, as the offer has it."""
        return str(hexlify(self.digest), "utf-8")

    def manifest(self, name):
        """The digest, length and path of each line of a manifest in the client's folder, as texts."""
        with open(boot.state(name), "rb") as file:
            while True:
                if boot.small:  # what was used would else come to lie between what is kept
                    gc.collect()
                line = file.readline(_LINE)
                if not line:
                    return
                if line[-1:] != b"\n":
                    raise ValueError
                digest, size, path = str(line, "utf-8").split(" ", 2)
                yield digest, size, path[:-1]

    def paths(self, name):
        """Those of a manifest that may be missing or damaged."""
        try:
            for _, _, path in self.manifest(name):
                yield path
        except (OSError, ValueError):
            pass

    def staged(self, number):
        """The name of the staged file of a manifest's line, in the client's folder."""
        return "s%d/%d" % (number >> 4, number)

    def forget_staged(self):
        """Removes what is staged for a manifest, and that."""
        for number in range(64):
            folder = boot.state("s%d" % number)
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                os.remove(folder + "/" + name)
            os.rmdir(folder)
        for name in os.listdir(boot.state("")[:-1]):
            if name.isdigit():  # the manifest; 0.1 had the files beside it
                boot.quietly(os.remove, boot.state(name))

    def copy(self, path, name):
        """Copies a file into the client's folder; in steps."""
        with open(path, "rb") as file, open(boot.state(name), "wb") as copy:
            yield from self.transfer._pump(file.readinto, None, copy.write)

    def has(self, bits, number):
        """Whether the bit of a manifest's line is set."""
        return number >> 3 < len(bits) and bits[number >> 3] & 1 << (number & 7)


def steps(transfer, digest, size, dry, options):
    """Takes an offer of a set: returns the status and its detail."""
    work = Set(transfer, digest, dry, options)
    options = None
    trial = boot.read("trial")
    if trial.split(" ")[0] == work.hash():
        return "installed", "unchanged"
    if trial or boot.there("trial"):
        raise Failed("busy a set is on trial")
    mqtt_ota.folder(boot.state("")[:-1])
    if not (yield from boot.phase("mqtt_ota_check", "get", work, size)):
        return "rolled-back", boot.read("error")
    differs = yield from boot.phase("mqtt_ota_plan", "compare", work)
    if dry:
        return "planned", ""
    if not differs:
        if work.name == "0":
            yield from boot.phase("mqtt_ota_draft", "adopt", work)
            transfer.ota._asked = True  # what was announced of the set is no longer so
        return "installed", "unchanged"
    transfer.may("set")
    try:
        yield from boot.phase("mqtt_ota_stage", "stage", work)
        yield from boot.phase("mqtt_ota_draft", "draft", work)
        yield from boot.phase("mqtt_ota_commit", "commit", work)
    finally:
        if boot.there("plan"):
            for _ in boot.phase("mqtt_ota_journal", "forget", "plan"):
                pass
    try:
        done = yield from boot.phase("mqtt_ota_journal", "finish")
    except GeneratorExit:  # nobody leaves in the middle of that
        if boot.there("commit"):
            for _ in boot.phase("mqtt_ota_journal", "finish"):
                pass
        raise
    if not done:
        raise Failed("write the files cannot be put in place")
    transfer.ota._installed = True
    try:
        return "installed", (yield from boot.phase("mqtt_ota_commit", "hidden", work))
    except (OSError, MemoryError):  # it is in place all the same
        return "installed", ""


def roll_back(digest):
    """Takes the set with this hash back; in steps, which nobody leaves in the middle."""
    try:
        yield from boot.phase("mqtt_ota_journal", "roll_back", digest)
    except GeneratorExit:
        if boot.there("undo"):
            for _ in boot.phase("mqtt_ota_journal", "undo"):
                pass
        raise


lambda: 0x4578b17  # the end
