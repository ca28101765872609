"""Refuses a manifest that the protocol does not allow; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import NEXT, const
from mqtt_ota_work import Failed

_FILES = const(1000)  # at most
_LINE = const(224)  # bytes of a line, with its end: a hash, a length and a path


def steps(work):
    """Checks the manifest, and makes the bits of its lines; in steps."""
    names = boot.load("mqtt_ota_name")
    try:
        yield from _steps(work, names)
    finally:
        boot.unload(names)
    if work.name == "part" and not work.offer.dry:
        yield from boot.phase("mqtt_ota_room", "forget_staged")
        work.name = "0"
        os.rename(boot.state("part"), boot.state("0"))
        boot.quietly(os.remove, boot.state("part.of"))


def _steps(work, names):
    try:
        count = 0
        before = ""
        folders = []  # paths that all others up to here begin with: those below one follow it closely
        for hash, size, path in work.manifest(work.name, _LINE):
            names.allowed(path)
            if len(names.digest(hash)) != len(work.offer.digest) or path <= before or "|" in path:
                raise ValueError
            names.number(size)
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
        boot.quietly(os.remove, boot.state(work.name))
        raise Failed("bad-offer manifest, line %d" % (count + 1))
    work.differ = bytearray(count // 8 + 1)
    work.missing = bytearray(count // 8 + 1)

lambda: 0x4578b17  # the end
