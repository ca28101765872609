"""A device that takes sets, and whose flash is a folder: MicroPython's unix port or CPython.

    micropython set_device.py DEMO HOST PORT NAME ROOT

DEMO is the script of `mqtt-ota demo`, whose MQTT client and driver this borrows. The application is ROOT's
main.py: one that raises crashes before it is connected, as a board would.
"""

import sys

import mqtt_ota_boot as boot

demo = sys.argv.pop(1)
with open(demo) as file:
    source = file.read()
exec(source[: source.index("\nif hasattr(sys.stdout")])

if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(line_buffering=True)
root = sys.argv[4]


def application():
    # Whether it comes as far as to the broker.
    try:
        with open(root + "/main.py") as main:
            exec(main.read(), {})
        return True
    except OSError:
        return True  # there is none yet
    except Exception as problem:
        print("crashed: %s" % problem)
        if not boot.there("trial"):
            raise
        text = "%s: %s" % (type(problem).__name__, problem)
        if hasattr(boot, "error"):  # version 0.1
            boot.error(text)
        else:
            boot.load("mqtt_ota_recover").note(text)
        return False


while True:
    boot.boot(root, 0)
    if not application():
        continue
    try:
        device = Device(sys.argv[1], int(sys.argv[2]), sys.argv[3], root)

        device.run()
    except Rebooted:
        pass
