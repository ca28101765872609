"""What there is already of a file by itself, or of a manifest, and the room for it; loaded for as long as that takes."""

import os

from mqtt_ota import NEXT
from mqtt_ota_work import blocks, folder, room, size_of


def steps(ota, offer):
    """Makes `part` in the client's folder fit to fetch item 0 of an extended offer into it; in steps."""
    path = ota.folder + "part"
    folder(ota.folder[:-1])
    known = b""
    try:
        with open(path + ".of", "rb") as file:
            known = file.read(33)
    except OSError:
        pass
    have = size_of(path)
    if have >= 0 and (known != offer.digest or have > offer.size):
        os.remove(path)
        have = -1
    block = os.statvfs(ota.root)[1]
    room(ota.root, blocks(offer.size, block) - blocks(have, block))
    if known != offer.digest:
        with open(path + ".of", "wb") as file:
            file.write(offer.digest)
    yield NEXT


lambda: 0x4578b17  # the end
