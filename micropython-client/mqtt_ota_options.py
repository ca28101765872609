"""What an Ota is given, and begins with; loaded for as long as that takes."""

import os

from mqtt_ota import const, ticks_ms

_ASKED = const(5000)  # ms between two answers to a request to announce


def take(ota, name, publish=None, root="", reset=None, address=None, limit=1 << 24, rate=1024, **hooks):
    """Begins with the options of an Ota, which tells what they are. Raises ValueError or TypeError."""
    if not (root and reset):
        try:
            from machine import reset as restart
        except ImportError:  # whose root is no place to write to
            raise ValueError("this is no board: give root= and reset=")
        reset = reset or restart
    for hook in hooks:
        if hook not in ("allow", "before_reboot", "progress", "feed", "log"):
            raise TypeError("there is no option " + hook)
        setattr(ota, hook, hooks[hook])
    ota.topic = name.encode() + b"/OTA"
    if publish:
        ota.publish = publish
    ota.root = root + "/"
    ota.folder = root + "/.mqtt-ota/"  # the client's own; no offer may name it
    ota.reset = reset
    ota.address = address
    ota.limit = limit
    ota.rate = rate
    ota._noted = []
    ota._file = None  # what the offer is of that is taken
    ota._newer = False  # there is a newer one of that
    ota._began = ticks_ms()
    ota._asked = False  # to announce
    ota._answered = ota._began - _ASKED  # when that was done last
    ota._busy = False
    ota._installed = ota._reboot = False  # something was since the boot; it waits for a reboot
    ota._wait = None  # waits until the socket is ready, for so many ms at most
    try:
        os.remove(ota.folder + "new")  # what a power cut left
    except OSError:
        pass
    ota._chunk = None  # while there is an offer


lambda: 0x4578b17  # the end
