"""Imports the client and, given an offer, does what it asks: how small a heap does either take?

    micropython -X heapsize=BYTES -m heap [OFFER]          into the current folder
    micropython -X heapsize=BYTES -m heap [OFFER] IMAGE    into LittleFS on an image of heap_flash

It runs compiled, as the client does: a compiler would take more of the heap than both.
"""

import sys

root = "."
if sys.argv[-1].endswith(".img"):
    import heap_flash

    heap_flash.mount(sys.argv.pop())
    root = heap_flash.ROOT
    sys.path[:] = (root,)

import mqtt_ota


def publish(topic, message, retain):
    if not message.startswith(b"receiving|"):
        print(message)


if len(sys.argv) > 1:
    ota = mqtt_ota.Ota("X", publish, root, publish)
    ota.message(b"X/OTA", sys.argv.pop().encode())
    ota.poll()
else:
    print("imported")
