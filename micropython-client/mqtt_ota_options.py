"""What an Ota is given, and begins with; loaded for as long as that takes."""

import sys

from mqtt_ota import Ota, load, remove, ticks_ms, unload

_ASKED = 5000  # ms between two answers to a request to announce


def take(ota, name, publish=None, root="", reset=None, address=None, limit=1 << 24, rate=1024, **hooks):
    """Begins with the options of an Ota, which tells what they are. Raises ValueError or TypeError."""
    if not (root and reset):
        try:
            from machine import reset as restart
        except ImportError:  # whose root is no place to write to
            raise ValueError("this is no board: give root= and reset=")
        reset = reset or restart
    for hook in hooks:
        if getattr(Ota, hook, None) is not Ota.log:
            raise TypeError("there is no option " + hook)
        setattr(ota, hook, hooks[hook])
    ota.topic = (name + "/OTA").encode()
    if publish:
        ota.publish = publish
    ota.root = root + "/"
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
    remove(ota.state("new"))  # what a power cut left
    ota._chunk = None  # while there is an offer


def prepare():
    """Has in the heap what a first offer would leave there for ever.

    The table of names is larger than the holes that an application may leave.
    """
    work = None
    try:
        work = sys.modules["mqtt_ota_work"] = load("mqtt_ota_work")
        for name in "name", "offer", "part", "single", "transfer", "announce":
            unload(load("mqtt_ota_" + name))
    except Exception:  # an offer will tell
        pass
    finally:
        sys.modules.pop("mqtt_ota_work", None)
        if work:
            unload(work)


lambda: 0x4578b17  # the end
