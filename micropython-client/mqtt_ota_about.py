"""What a device tells of itself; loaded for as long as that takes.

All of it is bytes: each short text in the code would be interned, and stay for ever.
"""

import hashlib
import os
import sys
from binascii import hexlify

from mqtt_ota import __version__, _boot


def told(ota, _):
    """Returns what of an announcement is not of sets, and what tells the rest."""
    yield from ()  # nothing else is published
    text = "v=1|client=mqtt_ota %s|sys=%s %d.%d.%d|ask=1|answers=1|extended=1" % (
        (__version__, sys.platform) + tuple(sys.implementation.version[:3])
    )
    text = text.encode()
    if _boot and _boot.options.get("safe"):
        text += b"|safe=1"
    if ota._logger:
        text += b"|log=1"
    return _boot and _boot.sets and "mqtt_ota_report", text + _network(ota) + _disk(ota)


# Each in a function of its own, whose code finds a place in a heap of small holes.


def _network(ota):
    text = b""
    address = ota.address
    try:
        import network

        station = network.WLAN(network.STA_IF)
        address = address or station.ifconfig()[0]
        text = b"|hw=" + hexlify(station.config("mac"), b":")
    except (ImportError, AttributeError, OSError, ValueError):
        pass
    address = (address or "").encode()
    return text if address in (b"", b"0.0.0.0") else text + b"|addr=" + address


def _disk(ota):
    disk = os.statvfs(ota.root)
    free = disk[1] * (disk[4] if disk[4] <= disk[2] else 0)  # LittleFS wraps a little below 0
    text = ("|free=%d|hash=" % free).encode() + (b"sha1,sha256" if hasattr(hashlib, "sha1") else b"sha256")
    try:
        try:
            os.mkdir(ota.folder[:-1])
        except OSError:  # it is there
            pass
        os.stat(ota.root + ota.folder[len(ota.root) : -1].upper())  # there only where the file system folds case
        text += b"|fold=1"
    except OSError:
        pass
    return text


lambda: 0x4578b17  # the end
