"""Fetches at boot what was offered when the heap was too small; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota_boot import quietly, read, state

_TRIES = 3  # boots that may begin with it
_LONGEST = 600000  # ms
_OFFER = 1024  # bytes at most
_timer = None  # kept here, as most ports let the collector take a timer that nothing points to
_OWN = ("reset", "connect", "client", "device", "at_boot", "offline", "timer", "confirm_after", "safe")


def hooks():
    """Those of the options that are the client's."""
    return {key: boot.options[key] for key in boot.options if key not in _OWN}


def fetch():
    """Takes the offer that was noted, notes what becomes of it, and reboots. Returns where there is none."""
    offer = _noted()
    if not offer:  # the board has lost its power when it was noted
        return
    try:
        _fetch(offer)
    except Exception as problem:
        print("mqtt_ota_fetch:", problem)
        for name in "tries", "offer":  # it must not be in the way of the next one
            quietly(os.remove, state(name))
    boot.restart()


def is_done():
    """The set that is on trial is in place; if it is what was offered, that is told."""
    offer = _noted()
    if offer.split(b"|")[2:4] == [b"set", read("trial").split(" ")[0].encode()]:
        _ends(_answer(offer, "installed"))


def _noted():
    with open(state("offer"), "rb") as file:
        return file.read(_OFFER)


def _fetch(offer):
    boot.later = boot.options["at_boot"] = False
    tries = read("tries") + "."
    detail = "connect at boot: %s"
    _limit()
    try:
        if len(tries) > _TRIES:
            raise OSError("the board came up %d times, and did not get to the end" % _TRIES)
        with open(state("tries"), "wb") as file:
            file.write(tries.encode())
        problem = None
        try:
            boot.options["connect"]()
        except Exception as error:
            problem = error
            if offer.split(b"|")[2:3] == [b"set"]:
                raise
        if not problem:
            detail = "write %s"
        _take(offer, problem)
    except Exception as problem:
        _ends(_answer(offer, "failed", detail % problem))


def _limit():
    # Whatever hangs, the board comes back.
    global _timer
    try:
        from machine import Timer
    except ImportError:
        return
    for number in -1, 3, 1:
        try:
            _timer = Timer(number)
            _timer.init(mode=Timer.ONE_SHOT, period=_LONGEST, callback=lambda _: boot.restart())
            return
        except ValueError:
            pass


def _take(offer, problem):
    # Without a network a file may still be there already: the board has lost its power before it could say so.
    import mqtt_ota

    ota = mqtt_ota.Ota("", root=boot.root, reset=boot.restart, **hooks())
    if problem:
        ota.allow = lambda _: False
    ota.message(ota.topic, offer)
    for step in ota.steps():
        if step == mqtt_ota.WAIT:
            ota._wait(80)
        elif step and step[:10] != "receiving|":
            if problem and step[:10] != "installed|":
                raise problem
            _ends(step)
        ota.feed()
    if boot.there("offer"):  # nothing could be said of it
        raise ValueError("an offer that cannot be read")


def _answer(*args):
    try:
        return boot.load("mqtt_ota_answer").answer(*args)
    except OSError:  # a set has brought or taken that module
        from mqtt_ota import short

        return short(*args)


def _ends(status):
    with open(state("said"), "wb") as file:
        file.write(status.encode())
    for name in "tries", "offer":
        quietly(os.remove, state(name))


lambda: 0x4578b17  # the end
