# The application of the tests, in asyncio.
try:
    import asyncio
except ImportError:  # MicroPython before 1.21
    import uasyncio as asyncio
import sys

if len(sys.argv) == 2:
    import mqtt_ota_boot

    mqtt_ota_boot.boot(sys.argv[1], 0)

import mqtt_ota_asyncio
from mqtt_as import MQTTClient, config
from settings import HOST, NAME, PORT

VERSION = "1"
ROOT = sys.argv[1] if len(sys.argv) == 2 else ""  # on a computer; a board has a file system of its own

config["client_id"], config["server"], config["port"] = NAME, HOST, PORT
config["ssid"], config["wifi_pw"], config["queue_len"] = "my network", "its password", 16
turns = 0


def reset():
    from machine import reset

    reset()


async def turn():
    # Counts how often the loop comes round: whatever blocks it stops this as well.
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0)


async def main():
    client = MQTTClient(config)
    ota = mqtt_ota_asyncio.Ota(client, NAME, root=ROOT, reset=reset, address=HOST)
    await client.connect()
    await client.subscribe(NAME + "/lamp", 1)
    await ota.start()
    turning = asyncio.create_task(turn())
    print("version", VERSION, "is ready")
    async for topic, message, _ in client.queue:
        if not ota.message(topic, message):
            print("app", topic.decode(), message)
            said = str(turns).encode() if message == b"turns" else b"heard " + message
            await client.publish(topic + b"/said", said, False, 1)


asyncio.run(main())
