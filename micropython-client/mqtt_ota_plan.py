"""Finds out what of a set is to be fetched and to be deleted, and how much room that takes; loaded for as long as that takes."""

import os
from binascii import unhexlify

import mqtt_ota_boot as boot
from mqtt_ota import NEXT
from mqtt_ota_work import Failed, blocks, same, size_of


def steps(work):
    """Compares the set with what there is. In a dry run it tells the sender. In steps."""
    stream = boot.load("mqtt_ota_transfer") if work.offer.dry else None
    transfer = stream and stream.Transfer(work.ota, work.offer)
    try:
        for name, call in ("mqtt_ota_clear", _files), ("mqtt_ota_gone", _gone):
            module = boot.load(name)
            try:
                yield from call(work, module, transfer)
            finally:
                boot.unload(module)
    finally:
        if stream:
            boot.unload(stream)


def _files(work, clear, transfer):
    ota = work.ota
    block = os.statvfs(ota.root)[1]
    sizes = [max(size_of(boot.state(name)), 0) for name in (work.name, "left", "set")]
    need = 2 * blocks(sizes[0], block)  # the journal, and a copy of the old manifest
    if not work.offer.delete:
        need += 2 * blocks(sizes[1] + sizes[2], block)
    number = 0
    before = ""
    for digest, size, path in work.manifest(work.name):
        number += 1
        digest = unhexlify(digest)
        if (yield from same(ota.root + path, digest, ota._chunk)):
            continue
        size = int(size)
        if size > ota.limit:
            raise Failed("no-space over %d bytes" % ota.limit)
        end = path.find("/", clear.clear(work, path) + 1)
        while end > 0:
            if path[: end + 1] != before[: end + 1]:
                need += 2  # a new folder
            end = path.find("/", end + 1)
        before = path
        need += 2 if number & 15 == 1 else 0  # one for what is staged, and for the copies
        work.differs = True
        _set(work.differ, number)
        staged = boot.state(work.staged(number))
        have = size_of(staged) if work.name == "0" else -1
        if have != size or not (yield from same(staged, digest, ota._chunk)):
            if have >= size:
                os.remove(staged)
                have = -1
            _set(work.missing, number)
            work.total += size - max(have, 0)
            if transfer:
                yield from transfer.ask(str(number))
        need += blocks(size, block) - blocks(have, block) + blocks(size_of(ota.root + path), block)
    work.need = need


def _gone(work, gone, transfer):
    block = os.statvfs(work.ota.root)[1]
    for path in gone.gone(work):
        if path:
            work.differs = True
            work.need += blocks(size_of(work.ota.root + path), block)
            if transfer:
                yield from transfer.ask("- " + path)
        yield NEXT


def _set(bits, number):
    bits[number >> 3] |= 1 << (number & 7)


lambda: 0x4578b17  # the end
