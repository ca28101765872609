"""Has the next boot do what the heap is too small for; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import _file


def postpone(ota, message):
    """Notes an offer for the next boot, if that can take it; returns the state and its detail. May raise OSError."""
    if boot.there("trial"):  # which a reset would count against
        return "failed", "busy a set is on trial"
    if not boot.later or b"|dry=1" in message or b"|rollback=1" in message:
        return "failed", "no-memory"
    if ota._reboot and _differs(message):
        return "failed", "busy another update is fetched at boot first"
    boot.quietly(os.mkdir, boot.state("")[:-1])
    boot.quietly(os.remove, boot.state("tries"))
    with open(boot.state("offer"), "wb") as file:
        file.write(message)
    ota._reboot = True
    return "receiving", "at-boot"


def _differs(message):
    # Whether the offer that waits for the boot is of something else. A newer one of the same file takes its place.
    try:
        with open(boot.state("offer"), "rb") as file:
            return _file(file.read()) != _file(message)
    except OSError:
        return False


lambda: 0x4578b17  # the end
