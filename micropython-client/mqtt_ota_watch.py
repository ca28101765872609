"""Sets what resets a board whose set is not confirmed in time; loaded for as long as that takes."""

import sys

import mqtt_ota_boot as boot

_LONGEST = (1 << 30) - 1  # ms that an ESP32's watchdog waits, 12 days


def watch(patience, number):
    """Has a timer reset the board after so many seconds without a confirmation; with "wdt" an ESP32's watchdog.

    Returns whether this module has to stay.
    """
    from machine import Timer

    trial = boot.trial
    trial.left = patience
    if number == "wdt":
        number = None  # elsewhere a watchdog waits for seconds, and the timer -1 is one of software
        if sys.platform == "esp32" and sys.implementation.version >= (1, 21, 0):  # else its longest is half an hour
            _guard(patience)
            return True
    for number in (-1, 3, 1) if number is None else (number,):
        try:
            trial.timer = Timer(number)
            break
        except ValueError:  # an ESP32 has real ones only; most have four, some two
            pass
    boot.options["timer"] = trial.timer  # an ESP8266's collector takes one that nothing points to, though it is armed
    trial.timer.init(mode=Timer.PERIODIC, period=1000, callback=trial.tick)


def _guard(patience):
    # A watchdog cannot be stopped. Nobody feeds it until the set is confirmed; from then on it waits as long as it can,
    # and is fed whenever the client looks whether there is something to confirm.
    from machine import WDT

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


lambda: 0x4578b17  # the end
