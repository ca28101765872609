"""A transfer in an application's heap that is full but for holes of one size.

    micropython -X heapsize=BYTES -m heap_fragmented HOLE WHEN OFFER          into the current folder
    micropython -X heapsize=BYTES -m heap_fragmented HOLE WHEN OFFER IMAGE    into LittleFS

HOLE is a multiple of four heap blocks; between two holes something that is a quarter as large stays. The
client is made before the heap is filled if WHEN is `before`, as an application does at its start, or else
after. As much is free before the application is loaded as on an ESP8266 after its boot. Prints a line of
name=value: bytes that are free then, with the application, and with the holes; the largest of the holes;
and whether 900 and 1,100 bytes can be had. Then the statuses.
"""

import gc
import sys

root = "."
if sys.argv[-1].endswith(".img"):
    import heap_flash

    heap_flash.mount(sys.argv.pop())
    root = heap_flash.ROOT
    sys.path.insert(0, root)

_WORD = 8 if sys.maxsize > 1 << 32 else 4
_FREE = 7500  # words after the boot

gc.collect()
firmware = bytearray(gc.mem_free() - _FREE * _WORD)
print("free=%d" % gc.mem_free(), end=" ")

import mqtt_ota
from umqtt.simple import MQTTClient



def publish(topic, message, retain):
    print(message)


def chain(end, size):
    # A heap block of so many bytes, which keeps another; the block of a tuple begins with two words.
    return (end,) * (size // _WORD - 2)


def fill(hole):
    # Blocks of the hole and a quarter of that; then whatever still fits stays.
    blocks = [None] * (40000 // hole)
    stays = None
    try:
        for number in range(len(blocks)):
            blocks[number] = chain(None, hole + hole // 4)
    except MemoryError:
        pass
    size = hole
    while size >= 4 * _WORD:
        try:
            stays = chain(stays, size)
        except MemoryError:
            size //= 2
    # Of each block its beginning stays. The last one first, as the first place that fits is taken.
    for number in range(len(blocks) - 1, -1, -1):
        if blocks[number]:
            blocks[number] = None
            gc.collect()
            blocks[number] = chain(None, hole // 4)
    return stays, blocks


def fits(size):
    try:
        return bool(bytearray(size))
    except MemoryError:
        return False


def largest():
    size = 0
    while fits(size + 4 * _WORD):
        size += 4 * _WORD
    return size


def make():
    return mqtt_ota.Ota("NIGHTLAMP", publish, root, publish)


hole, when, offer = sys.argv[1:]
client = MQTTClient("NIGHTLAMP", "192.168.4.1", keepalive=60)
settings = {"pin%d" % pin: {"name": "lamp %d" % pin, "on": False, "level": pin * 10} for pin in range(8)}
readings = [[hour, hour * 0.5] for hour in range(24)]
ota = make() if when == "before" else None
message = offer.encode()
gc.collect()
print("loaded=%d" % gc.mem_free(), end=" ")
stays = fill(int(hole))
gc.collect()
print("holes=%d largest=%d 900=%d 1100=%d" % (gc.mem_free(), largest(), fits(900), fits(1100)))
ota = ota or make()
ota.message(b"NIGHTLAMP/OTA", message)
ota.poll()
