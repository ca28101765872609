"""Watches over a boot of a set on trial; loaded in such a boot, and stays.

`boots` tells how often the board has booted since the set was put in place, how many of these boots count against it,
how many never had the network, and how the last one goes:

    .    it has not come as far as the network
    n    it has, and the set is not confirmed
    x    the application has died of an exception
    w    a watchdog or a fault has reset the board
    p    the power went, which says nothing of the set

n, x and w count against it: `mqtt_ota_recover` reads this at the next boot.
"""

import os
import sys

import mqtt_ota_boot as boot

_LONGEST = (1 << 30) - 1  # ms that an ESP32's watchdog waits, 12 days
_told = False  # the broker knows of this boot
_left = 0  # seconds until the set has to be confirmed
_timer = None  # kept here, as most ports let the collector take a timer that nothing points to


def mark(what):
    """Notes how this boot goes, unless that is known."""
    boots = boot.read("boots")
    if boots[-1:] == ".":
        try:
            with open(boot.state("boots"), "wb") as file:
                file.write((boots[:-1] + what).encode())
        except OSError:
            pass  # a full disk does not keep a board from anything


def look():
    """Whether the board has joined its network is noted; what has no Wi-Fi is taken for joined."""
    try:
        import network

        if not network.WLAN(network.STA_IF).isconnected():
            return
    except (ImportError, AttributeError):  # nor has what is wired one
        pass
    mark("n")


def confirm():
    """The set works: it stays. True if it was still on trial."""
    if not boot.there("trial"):
        return False
    os.rename(boot.state("trial"), boot.state("last"))
    boot.quietly(os.remove, boot.state("boots"))
    return True


def settles(told, ms):
    """Whether the client is to confirm it now: it has announced itself, and has run for so long."""
    global _told
    _told = told or _told
    return boot.confirms and _told and ms >= boot.confirm_after * 1000


def watch(patience, number):
    """Has a timer reset the board after so many seconds without a confirmation; with "wdt" an ESP32's watchdog."""
    from machine import Timer

    global _left, _timer
    _left = patience
    if number == "wdt":
        number = None  # elsewhere a watchdog waits for seconds, and the timer -1 is one of software
        if sys.platform == "esp32" and sys.implementation.version >= (1, 21, 0):  # else its longest is half an hour
            return _guard()
    for number in (-1, 3, 1) if number is None else (number,):
        try:
            _timer = Timer(number)
            break
        except ValueError:  # an ESP32 has real ones only; most have four, some two
            pass
    _timer.init(mode=Timer.PERIODIC, period=1000, callback=_tick)


def _guard():
    # A watchdog cannot be stopped. Nobody feeds it until the set is confirmed; from then on it waits as long as it can,
    # and is fed whenever the client looks whether there is something to confirm.
    from machine import WDT

    settle = boot.settle
    dog = WDT(timeout=_left * 1000)

    def settled(told, ms):
        global _left
        confirmed = settle(told, ms)
        if not boot.trial:
            if _left:
                _left = 0
                WDT(timeout=_LONGEST)
            dog.feed()
        return confirmed

    boot.settle = settled


def _tick(timer):
    # Each second, until the set is confirmed. This is called no more once the application has a callback of its own.
    global _left
    if not boot.trial:
        timer.deinit()
        return
    _left -= 1
    try:
        look()
    except Exception:  # such as a full heap
        pass
    if _left <= 0:
        boot.restart()


lambda: 0x4578b17  # the end
