"""A board whose application leaves no room for a set: it is fetched at boot.

    micropython -X heapsize=BYTES -m heap_boot KILOBYTES PATIENCE [OFFER]    into the current folder

Boots; if there is something to fetch, that happens in here, and ends with `reset`. Else umqtt, the client and an
application of so many KB are loaded and, given an offer, take it. Prints the statuses, and `reset` where the board
resets itself. PATIENCE is that of boot(), which needs a machine.Timer, as that of firmware.sh has; else 0.
"""

import sys


def reset():
    print("reset")
    sys.exit()


import mqtt_ota_boot

mqtt_ota_boot.boot(".", int(sys.argv[2]), reset, connect=int)

from umqtt.simple import MQTTClient

import mqtt_ota

application = [bytearray(496) for _ in range(int(sys.argv[1]) * 2)]  # 512 bytes of the heap each


def publish(topic, message, retain):
    print(message)


client = MQTTClient("X", "127.0.0.1")
ota = mqtt_ota.attach(client, "X", root=".", reset=reset)
ota.publish = publish
ota.announce()
if len(sys.argv) > 3:
    ota.message(b"X/OTA", sys.argv[3].encode())
    super(type(ota), ota).poll()
print("up")
