"""What a boot goes on with, where there is something; loaded for as long as that takes.

A boot of a set on trial that is counted already needs no other module than `mqtt_ota_trial`: even the names of others
would take of the application's heap.
"""

import mqtt_ota_boot
from mqtt_ota_boot import load, read, there


def resume(name, patience):
    """Goes on with what a file of this name in the client's folder tells."""
    counted = name == "trial" and read("boots")[-1:] == "*" and not there("offer")
    if counted or load("mqtt_ota_recover").recover(name):
        try:
            _begin(mqtt_ota_boot, patience)
        except Exception as error:  # the set has brought such a module, or the disk is full
            load("mqtt_ota_recover").broken(error)


def _begin(boot, patience):
    # Begins a boot of a set on trial, and has a timer reset the board where that is not confirmed in so many seconds.
    # What the timer calls stays when this module is gone.
    trial = load("mqtt_ota_trial")
    trial.mark(".")
    if read("boots")[-1:] == "*":
        raise OSError("this boot cannot be noted")  # so no boot would be counted
    boot.trial = trial
    boot.settle = trial.settle
    trial.look()
    number = boot.options.get("timer")
    if not patience or isinstance(number, str) and load("mqtt_ota_guard").guards(patience):
        return

    def tick(timer):
        # Called each second until the set is confirmed, and no more once the application has a callback of its own.
        nonlocal patience
        if not boot.trial:
            timer.deinit()
            boot.options.pop("timer", None)
            return
        patience -= 1
        try:
            trial.look()
        except Exception:  # such as a full heap
            pass
        if patience <= 0:
            boot.restart()

    try:
        from machine import Timer

        for number in (number,) if isinstance(number, int) else (-1, 3, 1):
            try:
                timer = Timer(number)
                break
            except ValueError:  # an ESP32 has real ones only; most have four, some two
                pass
        boot.options["timer"] = timer  # the collector takes one that nothing points to, even if it is armed
        timer.init(mode=Timer.PERIODIC, period=1000, callback=tick)
    except Exception as problem:  # the boot counts all the same
        print("mqtt_ota_resume:", problem)


lambda: 0x4578b17  # the end
