"""A set of files, all or nothing: what is done with an offer of one, phase by phase.

Each phase is a module of its own, which is there for as long as it takes, so that a set fits into a small heap:

    mqtt_ota_manifest  fetches the manifest
    mqtt_ota_check     refuses one that the protocol does not allow
    mqtt_ota_plan      compares it with what there is; mqtt_ota_clear tells whether its names are free, and
                       mqtt_ota_gone what is to be deleted
    mqtt_ota_room      makes room
    mqtt_ota_stage     fetches what is missing
    mqtt_ota_bootable  refuses what could not be taken back
    mqtt_ota_draft     writes the journal
    mqtt_ota_commit    keeps copies of what is replaced, and commits
    mqtt_ota_journal   puts the files in place, here or in the next boot; it tells what lies in the client's folder
"""

import gc

import mqtt_ota_boot as boot
from mqtt_ota import const
from mqtt_ota_work import Failed, may

_NO_SPACE = const(28)  # MicroPython's errno has no ENOSPC


class Set:
    """What the phases of a set hand on, and share."""

    def __init__(self, ota, offer):
        self.ota = ota
        self.offer = offer
        self.name = ""  # of the manifest, in the client's folder
        self.differ = self.missing = None  # a bit for each line: the device has it not; nor is it staged
        self.differs = False  # anything does
        self.need = 0  # blocks
        self.total = 0  # bytes to fetch

    def manifest(self, name, most=-1):
        """The digest, length and path of each line of a manifest in the client's folder, as texts.

        most  bytes that a line may have; where it was not looked at before
        """
        with open(boot.state(name), "rb") as file:
            while True:
                if boot.small:  # what was used would else come to lie between what is kept
                    gc.collect()
                line = file.readline(most)
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

    def has(self, bits, number):
        """Whether the bit of a manifest's line is set."""
        return number >> 3 < len(bits) and bits[number >> 3] & 1 << (number & 7)


def take(ota, offer):
    """Takes an offer of a set: returns the status and its detail. In steps."""
    work = Set(ota, offer)
    phase = boot.phase
    if offer.rollback:
        yield from phase("mqtt_ota_journal", "roll_back", offer.digest)
        ota._installed = True
        return "rolled-back", ""
    done = yield from phase("mqtt_ota_manifest", "steps", work)
    if done:
        return done
    yield from phase("mqtt_ota_check", "steps", work)
    yield from phase("mqtt_ota_plan", "steps", work)
    if offer.dry:
        return "planned", ""
    if not work.differs:
        if work.name == "0":
            yield from phase("mqtt_ota_draft", "adopt", work)
            ota._asked = True  # what was announced of the set is no longer so
        return "installed", "unchanged"
    may(ota, "set")
    try:
        for name in "room", "stage", "bootable", "draft", "commit":
            yield from phase("mqtt_ota_" + name, "steps", work)
    except OSError as error:
        if error.args[:1] == (_NO_SPACE,) and not boot.there("plan"):
            # There was enough, but for something else that was written.
            yield from phase("mqtt_ota_room", "forget_staged")
        raise
    finally:
        if boot.there("plan"):
            for _ in phase("mqtt_ota_journal", "forget", "plan"):
                pass
    if not (yield from phase("mqtt_ota_journal", "finish")):
        raise Failed("write the files cannot be put in place")
    ota._installed = True
    try:
        return "installed", (yield from phase("mqtt_ota_commit", "hidden", work))
    except Exception:  # such as a module of the set that is new; it is in place all the same
        return "installed", ""


lambda: 0x4578b17  # the end
