"""Fetches the manifest of a set, and checks it; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
import mqtt_ota_transfer
from mqtt_ota import NEXT, Failed, const

_MANIFEST = const(131072)  # bytes at most
_FILES = const(1000)  # at most


def get(work, size):
    """Brings the manifest of a set into the client's folder, in steps; returns False if this very offer was taken back."""
    transfer = work.transfer
    try:
        with open(boot.state("back"), "rb") as journal:
            journal.readline()
            if journal.readline() == b"id=%s\n" % work.id.encode():
                return False
    except OSError:
        pass
    yield transfer.receiving()
    for name in ("0", "set"):
        if (yield from transfer.has(boot.state(name), work.digest)):
            break
    else:
        name = "part"
        if size > _MANIFEST:
            raise Failed("bad-offer manifest of more than %d bytes" % _MANIFEST)
        last = 0
        # A board that never had a set, or has one of one file, is going to ask for nearly all, and saves the round
        # trip. In a small heap, what the manifest needs would lie between what the files need.
        if not (boot.small or work.dry or boot.there("was") or boot.there("0")):
            if sum(1 for _ in work.paths("set")) <= 1:
                last = ""
        yield from transfer.part(work.digest, size, last)
    yield from _check(work, name)
    if name == "part" and not work.dry:
        work.forget_staged()
        name = "0"
        os.rename(boot.state("part"), boot.state("0"))
        boot.quietly(os.remove, boot.state("part.of"))
    work.name = name
    return True


def _check(work, name):
    # Refuses what the protocol does not allow, and makes the bits of the lines.
    try:
        count = 0
        before = ""
        folders = []  # paths that all others up to here begin with: those below one follow it closely
        for digest, size, path in work.manifest(name):
            digest = mqtt_ota_transfer.parse(["h", "1", path, digest])[3]
            if len(digest) != len(work.digest) or path <= before or "|" in path:
                raise ValueError
            mqtt_ota_transfer.number(size)
            while folders and not path.startswith(folders[-1]):
                folders.pop()
            for folder in folders:
                if path.startswith(folder + "/"):
                    raise ValueError
            folders.append(path)
            before = path
            count += 1
            if count > _FILES:
                raise ValueError
            yield NEXT
    except (ValueError, Failed):
        boot.quietly(os.remove, boot.state(name))
        raise Failed("bad-offer manifest, line %d" % (count + 1))
    work.differ = bytearray(count // 8 + 1)
    work.missing = bytearray(count // 8 + 1)

lambda: 0x4578b17  # the end
