"""Keeps the count of a boot of a set on trial; loaded in such a boot, and stays. `mqtt_ota_resume` sets what resets it.

`boots` tells how often the board has booted since the set was put in place, how many of these boots count against it,
how many never had the network, and how the last one goes:

    *    it is counted, and has not begun
    .    it has not come as far as the network
    n    it has, and the set is not confirmed
    x    the application has died of an exception
    w    a watchdog or a fault has reset the board
    p    the power went, which says nothing of the set

n, x and w count against it: `mqtt_ota_recover` reads this at the next boot.
"""

import os

import mqtt_ota_boot as boot

told = False  # the broker knows of this boot


def mark(state):
    """Notes how this boot goes, unless that is known."""
    boots = boot.read("boots")
    if boots[-1:] in (".", "*"):
        try:
            with open(boot.state("boots"), "wb") as file:
                file.write((boots[:-1] + state).encode())
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
    boot.trial = None
    if boot.settle is settle:
        boot.settle = None
    return True


def settle(new, ms):
    """Confirms it, once the client has announced itself, as it now may have, and has run for so long. True if it just
    has."""
    global told
    told = new or told
    return boot.confirms and told and ms >= boot.options.get("confirm_after", 0) * 1000 and boot.confirm()


lambda: 0x4578b17  # the end
