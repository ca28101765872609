"""Finds out what of a set is to be fetched and to be deleted, and how much room that takes; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import NEXT, Failed
from mqtt_ota_transfer import blocks, size_of, unhexlify


def compare(work):
    """Compares the set with what there is; True if anything differs. In a dry run it tells the sender. In steps."""
    gone = boot.load("mqtt_ota_gone")
    try:
        return (yield from _compare(work, gone))
    finally:
        boot.unload(gone)


def _compare(work, gone):
    transfer = work.transfer
    block = os.statvfs(transfer.root)[1]
    sizes = [max(size_of(boot.state(name)), 0) for name in (work.name, "left", "set")]
    need = 2 * blocks(sizes[0], block)  # the journal, and a copy of the old manifest
    if not work.delete:
        need += 2 * blocks(sizes[1] + sizes[2], block)
    number = 0
    before = ""
    for digest, size, path in work.manifest(work.name):
        number += 1
        digest = unhexlify(digest)
        if (yield from transfer.has(transfer.root + path, digest)):
            continue
        size = int(size)
        if size > transfer.ota.limit:
            raise Failed("no-space over %d bytes" % transfer.ota.limit)
        end = path.find("/", gone.clear(work, path) + 1)
        while end > 0:
            if path[: end + 1] != before[: end + 1]:
                need += 2  # a new folder
            end = path.find("/", end + 1)
        before = path
        need += 2 if number & 15 == 1 else 0  # one for what is staged, and for the copies
        _set(work.differ, number)
        staged = boot.state(work.staged(number))
        have = size_of(staged) if work.name == "0" else -1
        if have != size or not (yield from transfer.has(staged, digest)):
            if have >= size:
                os.remove(staged)
                have = -1
            _set(work.missing, number)
            transfer._total += size - max(have, 0)
            if work.dry:
                yield from transfer.ask(str(number))
        need += blocks(size, block) - blocks(have, block) + blocks(size_of(transfer.root + path), block)
    differs = any(work.differ)
    for path in gone.gone(work):
        if path:
            differs = True
            need += blocks(size_of(transfer.root + path), block)
            if work.dry:
                yield from transfer.ask("- " + path)
        yield NEXT
    work.need = need
    transfer._done = 0
    return differs


def _set(bits, number):
    bits[number >> 3] |= 1 << (number & 7)


lambda: 0x4578b17  # the end
