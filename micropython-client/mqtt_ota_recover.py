"""Finishes or takes back what was cut, and counts the boots of a set on trial; loaded for as long as that takes."""

import os
import sys

import mqtt_ota_boot as boot
from mqtt_ota_boot import read, state

_LIMIT = 200  # bytes of an error at most, as they have to fit into an announcement
_TRIAL = 3  # where a journal does not tell
_OFFLINE = 10  # where nothing else is said


def recover(name):
    """Goes on with what a file of this name in the client's folder tells; reboots the board if files were changed.

    Returns whether this is a boot of a set on trial, which is counted now, and is to begin.
    """
    if name == "offer":
        _offered()
        return
    work = None
    if name == "trial":
        if boot.there("offer"):  # it is of this set, and the board has lost its power before it could say so
            try:
                fetch = boot.load("mqtt_ota_fetch")
                fetch.is_done()
                boot.unload(fetch)
            except Exception as problem:  # the trial counts all the same
                print("mqtt_ota_fetch:", problem)
        if read("boots")[-1:] == "*":
            return True
        why = _counts()
        if not why:
            if not boot.small or not boot.later or slept():
                return True
            boot.restart()  # which leaves more of a small heap to the application
            return
        if why[:3] == "no-" or not boot.there("error"):
            note(why)
        os.rename(state(name), state("undo"))
    journal = boot.load("mqtt_ota_journal")
    if name == "commit":
        work = journal.finish()
    elif name in ("trial", "undo"):
        work = journal.undo()
    feed = boot.options.get("feed", int)
    for _ in work or journal.forget("plan"):
        feed()
    if work:
        # What of boot.py follows, and mqtt_ota_boot, may be of the other set.
        boot.restart()
    if boot.there("offer"):
        _offered()


def broken(problem):
    """Nothing would watch over a boot of a set on trial, which has brought what does: it counts against the set."""
    note(str(problem))
    _write("boots", (read("boots")[:-1] + "x").encode())
    if read("boots")[-1:] != "x":  # where nothing can be counted, it must not go on for ever
        os.rename(state("trial"), state("undo"))
    boot.restart()


def _offered():
    if boot.later:
        boot.load("mqtt_ota_fetch").fetch()
    for name in "tries", "offer":  # this boot.py knows no network
        boot.quietly(os.remove, state(name))


def note(text):
    """Notes why a set is taken back."""
    text = bytearray(text.encode()[:_LIMIT])
    for at, c in enumerate(text):
        if not 32 <= c < 127 or c == 124:  # what would end the field
            text[at] = 32
    _write("error", text)


def _write(name, data):
    try:
        with open(state(name), "wb") as file:
            file.write(data)
    except OSError:
        pass  # a full disk does not keep a board from its reset


def slept():
    """Whether the board has woken from a deep sleep, which its application may want to know."""
    try:
        import machine

        return machine.reset_cause() == machine.DEEPSLEEP_RESET
    except (ImportError, AttributeError):
        return False


def _cause():
    # Why the board has booted: w, p, or nothing that counts.
    try:
        import machine

        cause = machine.reset_cause()
        if cause == machine.WDT_RESET and sys.platform != "rp2":  # where each reset is one by the watchdog
            if boot.options.get("timer") != "wdt" or sys.platform != "esp32":  # which may have waited for the network
                return "w"
        if cause == machine.PWRON_RESET:
            return "p"
    except (ImportError, AttributeError):
        pass


def _counts():
    # Counts a boot of a set on trial; why it is taken back, if it has had enough of them.
    try:
        most = max(int(read("trial").split(" ")[1]), 2)  # it has one boot at least
    except (IndexError, ValueError):
        most = _TRIAL
    try:
        total, bad, alone, last = read("boots").split(" ")
        total, bad, alone = int(total), int(bad), int(alone)
    except ValueError:  # it is the first one
        total, bad, alone, last = 0, 0, 0, "p"
    if last in ".n":
        last = _cause() or last
    bad += last in "nxw"
    alone += last == "."
    boots = "%d %d %d *" % (total + 1, bad, alone)
    _write("boots", boots.encode())
    offline = boot.options.get("offline", _OFFLINE)
    if bad + 1 >= most or read("boots") != boots:  # where nothing can be counted, it must not go on for ever
        return "not confirmed in %d boots" % most
    if alone + 1 >= offline:
        return "no-network in %d boots" % offline


lambda: 0x4578b17  # the end
