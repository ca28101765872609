# The lamp of lamp.py in asyncio, with the client mqtt_as, which takes care of Wi-Fi. As app.py.
import asyncio

from machine import Pin
from mqtt_as import MQTTClient, config

import mqtt_ota_asyncio
from settings import HOST, NAME, PASSWORD, PORT, SSID, USER, WIFI_PASSWORD

LAMP = 5  # GPIO of the relay
BUTTON = 0  # GPIO that the button connects to ground
BOUNCE = 50  # ms between two looks at the button, by when its contacts are at rest
RETRY = 5  # s between two attempts to connect for the first time

STATE = (NAME + "/lamp").encode()
SET = STATE + b"/set"

lamp = Pin(LAMP, Pin.OUT, value=0)
button = Pin(BUTTON, Pin.IN, Pin.PULL_UP)
changed = asyncio.Event()

config["client_id"] = NAME
config["ssid"] = SSID
config["wifi_pw"] = WIFI_PASSWORD
config["server"] = HOST
config["port"] = PORT
config["user"] = USER
config["password"] = PASSWORD
config["queue_len"] = 4  # messages; has it use a queue and events
client = MQTTClient(config)
ota = mqtt_ota_asyncio.Ota(client, NAME)


def switch(on):
    lamp(on)
    changed.set()


async def buttons():
    was = 1
    while True:
        level = button()
        if was and not level:
            switch(not lamp())
        was = level
        await asyncio.sleep_ms(BOUNCE)


async def connections():
    while True:
        await client.up.wait()
        client.up.clear()
        await client.subscribe(SET, 1)
        await ota.start()
        print(NAME, "is ready")
        changed.set()


async def reports():
    while True:
        await changed.wait()
        changed.clear()
        await client.publish(STATE, b"on" if lamp() else b"off", True, 1)


async def main():
    for task in (buttons, connections, reports):
        asyncio.create_task(task())
    while True:
        try:
            await client.connect()
            break
        except OSError as error:
            print("no connection:", error)
            await asyncio.sleep(RETRY)
    async for topic, message, _ in client.queue:
        if not ota.message(topic, message) and topic == SET:
            switch(message == b"on")


asyncio.run(main())
