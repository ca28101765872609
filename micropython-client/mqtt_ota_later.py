"""Has the next boot do what the heap is too small for; loaded for as long as that takes."""

import hashlib
import os
from binascii import hexlify

import mqtt_ota_boot as boot
from mqtt_ota import _file


def postpone(ota, message):
    """Notes an offer for the next boot, if that can take it; returns the state and its detail. May raise OSError."""
    fields = message.split(b"|")
    digits = fields[3] if len(fields) > 3 else b""
    # The boot parses it; but nothing else is to reset the board.
    if len(digits) not in (40, 64) or digits.strip(b"0123456789abcdef") or not fields[1].isdigit():
        return "failed", "bad-offer fields"
    file = str(fields[2], "utf-8")
    asks = b"|dry=1" in message or b"|rollback=1" in message
    if not asks and _is_there(ota, file, digits):
        return "installed", "unchanged"
    after = ota.allow(file)
    if after is not None and after is not True:
        return "failed", "postponed after=%d" % after if after else "postponed"
    if boot.there("trial"):  # which a reset would count against
        return "failed", "busy a set is on trial"
    if asks or not boot.later:
        return "failed", "no-memory"
    if ota._reboot and _differs(message):
        return "failed", "busy another update is fetched at boot first"
    boot.quietly(os.mkdir, boot.state("")[:-1])
    boot.quietly(os.remove, boot.state("tries"))
    with open(boot.state("offer"), "wb") as file:
        file.write(message)
    ota._reboot = True
    return "receiving", "at-boot"


def _is_there(ota, path, digits):
    # So that an offer that the broker keeps does not reset the board again and again.
    if path == "set":
        if boot.there("was"):  # a file of it was changed by itself
            return False
        path = ".mqtt-ota/set"
    try:
        hasher = getattr(hashlib, "sha1" if len(digits) == 40 else "sha256")()
        with open(ota.root + path, "rb") as file:
            part = memoryview(bytearray(128))
            while True:
                count = file.readinto(part)
                if not count:
                    return hexlify(hasher.digest()) == digits
                hasher.update(part[:count])
                ota.feed()
    except (OSError, AttributeError):
        return False


def _differs(message):
    # Whether the offer that waits for the boot is of something else. A newer one of the same file takes its place.
    try:
        with open(boot.state("offer"), "rb") as file:
            return _file(file.read()) != _file(message)
    except OSError:
        return False


lambda: 0x4578b17  # the end
