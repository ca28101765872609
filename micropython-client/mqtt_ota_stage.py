"""Fetches the missing files of a set; loaded for as long as that takes."""

from binascii import unhexlify

import mqtt_ota_boot as boot
from mqtt_ota import NEXT
from mqtt_ota_work import folder


def steps(work):
    """Fetches what is missing; in steps."""
    stream = boot.load("mqtt_ota_transfer")
    try:
        yield from _fetch(work, stream.Transfer(work.ota, work.offer, work.total))
    finally:
        boot.unload(stream)


def _fetch(work, transfer):
    number = 0
    for digest, size, _ in work.manifest("0"):
        number += 1
        part = boot.state(work.staged(number))
        if work.has(work.missing, number):
            last = number
            if work.offer.next != number:
                while work.has(work.missing, last + 1) and not boot.there(work.staged(last + 1)):
                    last += 1
            folder(part[: part.rfind("/")])
            yield from transfer.fetch(number, last, part, unhexlify(digest), int(size))
        yield NEXT
    transfer.close()

lambda: 0x4578b17  # the end
