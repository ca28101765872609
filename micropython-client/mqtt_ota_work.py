"""Does what an offer asks, and has what that takes in files; loaded for as long as that takes."""

import hashlib
import os
from errno import EEXIST

from mqtt_ota import NEXT, _boot, _file, const, load, phase, short, unload

STATE = ".mqtt-ota"  # the client's own folder, below the root; no offer may name it
_CHUNK = const(512)  # bytes: what a step reads, hashes and writes; less than one TCP segment

_SPARE = const(8)  # blocks that must stay free: the journal's, the trial's, and what the file system moves
_NO_SPACE = const(28)  # MicroPython's errno has no ENOSPC
_READ_ONLY = const(30)  # nor EROFS


class Failed(Exception):
    """The file is not installed, and the old one untouched; the argument is the detail of the status."""


def take(ota, message):
    """Does what an offer asks, in steps; returns the status that ends it. Raises MemoryError."""
    ota._file = _file(message)
    ota._chunk = memoryview(bytearray(_CHUNK))
    try:
        return (yield from _told(ota, message))
    finally:
        ota._wait = ota._file = ota._chunk = None


def _told(ota, message):
    try:
        return (yield from _take(ota, message))
    except Failed as failed:
        detail = failed.args[0]
    except OSError as error:
        detail = "%s %s" % ("no-space" if error.args[:1] == (_NO_SPACE,) else "write", error)
        if error.args[:1] == (_READ_ONLY,):
            detail = "write the file system is read-only"
        if _boot and not _boot.sets:  # which were announced
            ota._asked = True
    except ValueError:  # not UTF-8
        detail = "bad-offer"
    return answer(message, "failed", detail)


def _take(ota, message):
    module = load("mqtt_ota_offer")
    try:
        offer = module.parse(message)
    finally:
        unload(module)
    if _boot and ota.root != _boot.root + "/":
        raise Failed("write boot() was called with another folder")
    if offer.set and not _boot:
        raise Failed("bad-offer fields")
    try:
        state, detail = yield from phase("mqtt_ota_set" if offer.set else "mqtt_ota_single", "take", ota, offer)
    finally:
        if offer.sock:
            offer.sock.close()
    if detail == "unchanged" and _boot and _boot.options.get("safe"):
        # What the application died of may have been something else: whoever sends it again wants it to run.
        yield from phase("mqtt_ota_journal", "mended")
        ota._installed = True
    # A file that was there already asks for no reboot, but for one that an earlier file waits for.
    if ota._installed and offer.reboot:
        ota._reboot = True
    return answer(message, state, detail)


def answer(*what):
    """The status that answers an offer."""
    try:
        module = load("mqtt_ota_answer")
        status = module.answer(*what)
        unload(module)
        return status
    except Exception:  # such as a full heap, or a set that has brought or taken that module
        return short(*what)


def may(ota, file):
    """Asks the application whether this is the time to fetch a file. Raises Failed, or MemoryError to do it at boot."""
    after = ota.allow(file)
    if after is not None and after is not True:
        raise Failed("postponed after=%d" % after if after else "postponed")
    if _boot and _boot.options.get("at_boot"):
        raise MemoryError


def folder(path):
    """Makes a folder, unless it is there."""
    try:
        os.mkdir(path)
    except OSError as error:
        if error.args[0] != EEXIST:
            raise


def new_hash(digest):
    """The hash function that has made a digest."""
    make = getattr(hashlib, "sha1" if len(digest) == 20 else "sha256", None)
    if not make:
        raise Failed("bad-offer hash")
    return make()


def size_of(path):
    """Bytes of a file; below 0 if there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def move(path, to, chunk):
    """Hands a file to a function, chunk by chunk, and returns its length; in steps."""
    total = 0
    with open(path, "rb") as file:
        while True:
            count = file.readinto(chunk)
            if not count:
                return total
            to(chunk if count == len(chunk) else chunk[:count])
            total += count
            yield NEXT


def same(path, digest, chunk):
    """Whether a file has this digest; in steps."""
    hasher = new_hash(digest)
    try:
        yield from move(path, hasher.update, chunk)
    except OSError:
        return False  # not there, or not readable: it will be replaced
    return hasher.digest() == digest


def blocks(size, block):
    """How many blocks a file takes; each of them has a few bytes that tell the others."""
    return 0 if size < 0 else size // (block - 16) + 1


def room(root, need):
    """Raises Failed where so many blocks are not free."""
    disk = os.statvfs(root)
    # LittleFS counts what two files share twice: on a full one less than nothing is free, without a sign.
    free = disk[4] if disk[4] <= disk[2] else 0
    if need + _SPARE > free:
        raise Failed("no-space %d bytes needed, %d free" % ((need + _SPARE) * disk[1], free * disk[1]))


lambda: 0x4578b17  # the end
