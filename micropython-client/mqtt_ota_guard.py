"""Has an ESP32's watchdog reset the board whose set is not confirmed in time; loaded where it is asked for, and stays."""

import sys

import mqtt_ota_boot as boot

_LONGEST = (1 << 30) - 1  # ms that it waits, 12 days


def guards(patience):
    """Has the watchdog wait for so many seconds; false where a timer has to do that."""
    # Elsewhere a watchdog waits for seconds, and before 1.21 for half an hour at most.
    if sys.platform != "esp32" or sys.implementation.version < (1, 21, 0):
        return False
    from machine import WDT

    # It cannot be stopped. Nobody feeds it until the set is confirmed; from then on it waits as long as it can, and is
    # fed whenever the client looks whether there is something to confirm.
    settle = boot.settle
    dog = WDT(timeout=patience * 1000)
    waits = False

    def settled(told, ms):
        nonlocal waits
        confirmed = settle(told, ms)
        if not boot.trial:
            if not waits:
                waits = True
                WDT(timeout=_LONGEST)
            dog.feed()
        return confirmed

    boot.settle = settled
    return True


lambda: 0x4578b17  # the end
