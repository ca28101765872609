"""What do offers leave on the heap when they have been answered?

    micropython -m heap_offers

Nobody is at the address that they name, and no two of them have a character of the file's name in common.
Prints what the heap in use grew by from the second to the last, and how many there were.
"""

import gc

import mqtt_ota

_OFFERS = 29
_CHARACTERS = 60  # of each name, from U+0100 on, and all are two bytes long


def publish(topic, message, retain):
    pass


def answer(number):
    # As bytes, as the broker sends it: a text would be taken apart here.
    message = bytearray(b"127.0.0.1|1|")
    for c in range(number * _CHARACTERS, number * _CHARACTERS + _CHARACTERS):
        message.append(0xC4 + (c >> 6))
        message.append(0x80 + (c & 63))
    ota.message(b"X/OTA", message + b"|0000000000000000000000000000000000000000|0")
    ota.poll()
    gc.collect()


ota = mqtt_ota.Ota("X", publish, ".", publish)
answer(0)
before = gc.mem_alloc()
for number in range(1, _OFFERS):
    answer(number)
print("offers=%d grown=%d" % (_OFFERS - 1, gc.mem_alloc() - before))
