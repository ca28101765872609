"""What a device tells of itself; loaded for as long as that takes. `mqtt_ota_report` adds what it tells of sets."""

import hashlib
import os
import sys
from binascii import hexlify

from mqtt_ota import _STATE, __version__, _boot, folder, load, unload


def told(ota):
    """Yields all that is announced: the file in the client's folder that it is from, if any; the topic; the message."""
    for name, topic in ("said", b"/status"), ("crash", b"/crash"):
        try:
            with open(ota.state(name), "rb") as file:
                message = file.read(os.stat(ota.state(name))[6])  # no buffer that is larger
        except OSError:
            continue
        yield name, topic, message
    text = _client() + _network(ota)
    if _boot and _boot.sets:
        try:
            report = load("mqtt_ota_report")
            text += report.sets()
            unload(report)
        except (OSError, MemoryError) as problem:
            ota.log(problem)
    yield "", b"/device", (text + _disk(ota)).encode()


# Each in a function of its own, whose code finds a place in a heap of small holes.


def _client():
    text = "v=1|client=mqtt_ota %s|sys=%s %d.%d.%d|ask=1|answers=1|extended=1" % (
        (__version__, sys.platform) + tuple(sys.implementation.version[:3])
    )
    return text + ("|safe=1" if _boot and _boot.options.get("safe") else "")


def _network(ota):
    text = ""
    address = ota.address
    try:
        import network

        station = network.WLAN(network.STA_IF)
        address = address or station.ifconfig()[0]
        text = "|hw=" + str(hexlify(station.config("mac"), ":"), "utf-8")
    except (ImportError, AttributeError, OSError, ValueError):
        pass
    if address and address != "0.0.0.0":
        text += "|addr=" + address
    return text


def _disk(ota):
    disk = os.statvfs(ota.root)
    text = "|free=%d|hash=%ssha256" % (
        disk[1] * (disk[4] if disk[4] <= disk[2] else 0),  # LittleFS wraps a little below 0
        "sha1," if hasattr(hashlib, "sha1") else "",
    )
    if ota._logger:
        text += "|log=1"
    try:
        folder(ota.root + _STATE)
        os.stat(ota.root + _STATE.upper())  # there only where the file system folds case
        text += "|fold=1"
    except OSError:
        pass
    return text


lambda: 0x4578b17  # the end
