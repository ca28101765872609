"""A file by itself: what is done with an offer of one; loaded for as long as that takes."""

import gc
import os
import sys

from mqtt_ota import _boot, load, phase, unload
from mqtt_ota_work import Failed, answer, folder, may, new_hash, same


def take(ota, offer):
    """Fetches the file and puts it in place; returns the status and its detail. In steps."""
    file = offer.file
    if (yield from same(ota.root + file, offer.digest, ota._chunk)):
        return "installed", "unchanged"
    if offer.size and offer.size > ota.limit:
        raise Failed("no-space over %d bytes" % ota.limit)
    if _boot and _boot.there("trial"):
        raise Failed("busy a set is on trial")
    may(ota, file)
    yield answer(offer.message, "receiving")
    gc.collect()  # so that the buffers of what comes find whole blocks
    _fits(ota.root, file)
    try:
        if offer.size is None:
            part = "new"
            yield from _plain(ota, offer)
        else:
            part = "part"
            yield from phase("mqtt_ota_part", "steps", ota, offer)
            yield from phase("mqtt_ota_transfer", "first", ota, offer)
        detail = yield from _place(ota, file, ota.folder + part)
    finally:
        _remove(ota.folder + "new")
    ota._installed = True
    return "installed", detail


def _fits(root, file):
    # Before anything is fetched: neither is it a folder, nor in a file.
    end = 0
    while end < len(file):
        end = (file + "/").find("/", end + 1)
        try:
            is_folder = os.stat(root + file[:end])[0] & 0x4000
        except OSError:
            break
        if (not is_folder) == (end < len(file)):
            raise Failed("bad-name %s is %sa folder" % (file[:end], "" if is_folder else "not "))


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass


def _plain(ota, offer):
    # Fetches the file of a plain offer as `new` in the client's folder.
    module = load("mqtt_ota_transfer")
    try:
        transfer = module.Transfer(ota, offer)
        yield from transfer.ask()
        folder(ota.folder[:-1])
        ota._file = None
        hasher = new_hash(offer.digest)
        transfer.left = 1 << 29
        with open(ota.folder + "new", "wb") as file:
            size = yield from transfer.pump(hasher, file)
        if hasher.digest() != offer.digest:
            raise Failed("hash-mismatch %d bytes" % size)
    finally:
        unload(module)


def _place(ota, file, part):
    # Gives the file its name; returns the detail of the status.
    end = file.find("/")
    while end > 0:
        folder(ota.root + file[:end])
        end = file.find("/", end + 1)
    if hasattr(os, "sync"):
        os.sync()
    if _boot:
        if _boot.there("crashes"):
            yield from phase("mqtt_ota_journal", "mended")
        # From here on, what is installed is no longer a set.
        if _boot.there("drop"):
            yield from phase("mqtt_ota_journal", "forget", "last")
        for old, new in ("last", "drop"), ("set", "was"):
            _boot.quietly(os.rename, ota.folder + old, ota.folder + new)
    detail = hidden(ota.root, file)
    if os.stat(part)[6]:
        os.rename(part, ota.root + file)
    else:
        # LittleFS 1 tells a file by where its bytes are: a rename that is cut can lose one that has none.
        open(ota.root + file, "wb").close()
        _remove(part)
    _remove(ota.folder + "part.of")
    return detail


def hidden(root, path):
    """The detail of a status: what MicroPython imports instead of this file; empty if nothing."""
    end = path.rfind(".")
    name = path[:end]
    if path[end:] in (".py", ".mpy") and name not in ("main", "boot") and sys.implementation.name == "micropython":
        others = (name, name + ".py", name[4:], name[4:] + ".py", name[4:] + ".mpy")
        for other in others[: 5 if path[:4] == "lib/" else 2]:
            try:
                if other != path and (os.stat(root + other)[0] & 0x4000 or "." in other):  # a folder, or a module
                    return "hidden by " + other
            except OSError:
                pass
    return ""

lambda: 0x4578b17  # the end
