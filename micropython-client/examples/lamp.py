# A lamp with a button. MQTT switches it too: publish "on" or "off" to NAME/lamp/set. As app.py.
import sys
import time

from machine import Pin
from umqtt.simple import MQTTClient

import mqtt_ota
import wifi
from settings import HOST, NAME, PASSWORD, PORT, USER

LAMP = 5  # GPIO of the relay
BUTTON = 0  # GPIO that the button connects to ground
BOUNCE = 200  # ms in which the button's contacts may still move
KEEPALIVE = 60  # s; check_msg pings the broker twice as often
RETRY = 5  # s between two attempts to connect
PAUSE = 20  # ms between two looks for a message

STATE = (NAME + "/lamp").encode()
SET = STATE + b"/set"

lamp = Pin(LAMP, Pin.OUT, value=0)
button = Pin(BUTTON, Pin.IN, Pin.PULL_UP)
edge = time.ticks_add(time.ticks_ms(), -BOUNCE)  # when the button last moved
changed = True  # the broker does not know the lamp's state yet


def switch(on):
    global changed
    lamp(on)
    changed = True


def on_message(topic, message):
    if topic == SET:
        switch(message == b"on")


def on_edge(_):
    # An interrupt, so that the button works without a broker, and during an update.
    global edge
    now = time.ticks_ms()
    if not 0 <= time.ticks_diff(now, edge) < BOUNCE and not button():
        switch(not lamp())
    edge = now


def run():
    global changed
    wifi.connect()
    client.connect()
    client.subscribe(SET, 1)
    ota.start()
    print(NAME, "is ready")
    changed = True
    while True:
        wifi.connect()
        client.check_msg()
        if changed:
            changed = False
            client.publish(STATE, b"on" if lamp() else b"off", True, 1)
        time.sleep_ms(PAUSE)


button.irq(on_edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)
client = MQTTClient(NAME, HOST, PORT, USER, PASSWORD, KEEPALIVE)
client.set_callback(on_message)
ota = mqtt_ota.attach(client, NAME)
while True:
    try:
        run()
    except Exception as error:  # any: it has to stay reachable for the update that mends it
        sys.print_exception(error)
        if client.sock:
            client.sock.close()
        time.sleep(RETRY)
