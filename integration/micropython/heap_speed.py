"""How long does a transfer take?

    micropython -m heap_speed OFFER          into the current folder
    micropython -m heap_speed OFFER IMAGE    into LittleFS on an image of heap_flash

Prints the microseconds of poll(), and the status.
"""

import sys
from time import ticks_diff, ticks_us

root = "."
if sys.argv[-1].endswith(".img"):
    import heap_flash

    heap_flash.mount(sys.argv.pop())
    root = heap_flash.ROOT

import mqtt_ota


def publish(topic, message, retain):
    if not message.startswith(b"receiving|"):
        print("us=%d" % ticks_diff(ticks_us(), since))
        print(message)


ota = mqtt_ota.Ota("X", publish, root, publish)
ota.message(b"X/OTA", sys.argv.pop().encode())
since = ticks_us()
ota.poll()
