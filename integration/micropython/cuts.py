"""What the proofs of power loss share: file systems on flash in RAM, and what each cut leaves there."""

import os
try:
    import vfs
except ImportError:  # MicroPython before 1.22
    import os as vfs
from binascii import hexlify
from hashlib import sha256

from flash import Card, Flash

ROOT = "/flash"
STATE = ".mqtt-ota"


def content(seed, size):
    """Bytes of which no 64 are the same as any others."""
    parts = []
    for number in range(0, size, 64):
        parts.append(hexlify(sha256(b"%s %d" % (seed, number)).digest()))
    return b"".join(parts)[:size]


class Disk:
    """A device with the file system that boards have on it: lfs2-32, lfs2-256, lfs1, fat-flash or fat-sd."""

    def __init__(self, kind):
        name, _, detail = kind.partition("-")
        self.type = {"lfs1": vfs.VfsLfs1, "lfs2": vfs.VfsLfs2, "fat": vfs.VfsFat}[name]
        self.options = {}
        self.root = {"lfs1": (2, 3), "lfs2": (0, 1), "fat": ()}[name]  # its blocks
        if name == "fat":
            self.device = Card() if detail == "sd" else Flash()
        else:
            self.options["progsize"] = int(detail or "32")
            self.device = Flash(prog=self.options["progsize"])

    def format(self):
        self.type.mkfs(self.device, **self.options)

    def boot(self):
        """Mounts it afresh, in place of any other."""
        try:
            vfs.umount(ROOT)
        except OSError:
            pass
        vfs.mount(self.type(self.device, **self.options), ROOT)

    def recorded(self, action):
        """What an action does to the flash: each operation as (start, bytes that are there afterwards)."""
        self.device.operations = []
        try:
            action()
        finally:
            operations, self.device.operations = self.device.operations, None
        return operations

    def cuts(self, image, operations, splits, every=1):
        """Puts onto the flash what each cut leaves, and says whether it is a torn one; completes `image`.

        A cut comes before an operation, or when only the first part of its bytes has come about. Only every so many
        operations are cut.
        """
        flash = self.device.image
        for number, (start, data) in enumerate(operations):
            if number % every:
                image[start : start + len(data)] = data
                continue
            flash[:] = image
            yield False
            for split in splits:
                part = int(len(data) * split)
                flash[:] = image
                flash[start : start + part] = memoryview(data)[:part]
                yield True
            image[start : start + len(data)] = data


def listed(folder):
    """The names in a folder, which may not be there."""
    try:
        return [entry[0] for entry in os.ilistdir(ROOT + "/" + folder)]
    except OSError:
        return []
    except UnicodeError:
        return ["not readable"]
