"""What is announced of sets; loaded for as long as that takes."""

from binascii import hexlify
from hashlib import sha256

import mqtt_ota_boot as boot
from mqtt_ota_boot import read, there


def told(_, text):
    """Returns an announcement with the hash of the set that is installed, and what became of the last one."""
    yield from ()  # nothing else is published
    if boot.trial:
        boot.trial.look()
    text += b"|set=" + _hash()
    if there("trial"):
        boots = read("boots")
        # It is counted before it begins.
        text += b"|boots=" + (b"0" if boots[-1:] in ("", "*") else boots.split(" ")[0].encode())
    back = read("back").split(" ")[0]
    if back:
        error = read("error") or "not known: it could not be noted"
        text += ("|rolled-back=%s|error=%s" % (back, error)).encode()
    return "", text


def _hash():
    hasher = sha256()
    part = memoryview(bytearray(128))
    try:
        with open(boot.state("set"), "rb") as file:
            while True:
                count = file.readinto(part)
                if not count:
                    return hexlify(hasher.digest())
                hasher.update(part[:count])
    except OSError:
        return b"-"


lambda: 0x4578b17  # the end
