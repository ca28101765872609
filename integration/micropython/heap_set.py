"""Boots with a set's journal looked for, imports the client and, given an offer of a set, takes it.

    micropython -X heapsize=BYTES -m heap_set [OFFER]          into the current folder
    micropython -X heapsize=BYTES -m heap_set [OFFER] IMAGE    into LittleFS on an image of heap_flash
"""

import sys

root = "."
if sys.argv[-1].endswith(".img"):
    import heap_flash

    heap_flash.mount(sys.argv.pop())
    root = heap_flash.ROOT
    sys.path[:] = (root,)

import mqtt_ota_boot

mqtt_ota_boot.boot(root, 0, connect=int)

import mqtt_ota


def publish(topic, message, retain):
    if not message.startswith(b"receiving|"):
        print(message)


def reset():
    pass


ota = mqtt_ota.Ota("X", publish, root, reset)
if len(sys.argv) > 1:
    ota.message(b"X/OTA", sys.argv.pop().encode())
    ota.poll()
else:
    print("imported")
