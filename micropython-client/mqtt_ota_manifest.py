"""Fetches the manifest of a set; loaded for as long as that takes."""

from binascii import hexlify

import mqtt_ota_boot as boot
from mqtt_ota import const
from mqtt_ota_work import Failed, answer, folder, same

_MANIFEST = const(131072)  # bytes at most


def steps(work):
    """Brings the manifest of a set into the client's folder, in steps; returns a status and its detail if that ends it."""
    ota, offer = work.ota, work.offer
    trial = boot.read("trial")
    if trial.split(" ")[0].encode() == hexlify(offer.digest):
        return "installed", "unchanged"
    if trial or boot.there("trial"):
        raise Failed("busy a set is on trial")
    folder(boot.state("")[:-1])
    try:
        with open(boot.state("back"), "rb") as journal:
            journal.readline()
            if journal.readline() == b"id=%s\n" % offer.id.encode():
                return "rolled-back", boot.read("error")  # this very offer
    except OSError:
        pass
    yield answer(offer.message, "receiving")
    for name in ("0", "set"):
        if (yield from same(boot.state(name), offer.digest, ota._chunk)):
            break
    else:
        name = "part"
        if offer.size > _MANIFEST:
            raise Failed("bad-offer manifest of more than %d bytes" % _MANIFEST)
        last = 0
        # A board that never had a set, or has one of one file, is going to ask for nearly all, and saves the round
        # trip. In a small heap, what the manifest needs would lie between what the files need.
        if not (boot.small or offer.dry or boot.there("was") or boot.there("0")):
            if sum(1 for _ in work.paths("set")) <= 1:
                last = ""
        yield from boot.phase("mqtt_ota_part", "steps", ota, offer)
        yield from boot.phase("mqtt_ota_transfer", "first", ota, offer, last)
    work.name = name


lambda: 0x4578b17  # the end
