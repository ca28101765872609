# A DHT22 on a battery: wakes, publishes to NAME/dht22, looks for an update, and sleeps. As app.py.
# An ESP8266 wakes only if its GPIO 16 is connected to RST.
import sys
import time

from dht import DHT22
from machine import Pin, deepsleep
from umqtt.simple import MQTTClient

import mqtt_ota
import wifi
from settings import HOST, NAME, PASSWORD, PORT, USER

SENSOR = 4  # GPIO of the data line
SLEEP = 10 * 60 * 1000  # ms; an ESP8266 can sleep for 71 minutes
LISTEN = 2000  # ms without an offer before it sleeps
KEEPALIVE = 60  # s
PAUSE = 20  # ms between two looks for a message

TOPIC = (NAME + "/dht22").encode()

sensor = DHT22(Pin(SENSOR))
heard = time.ticks_ms()  # of the last sign of an offer


def stay():
    # During a transfer, and so after it as well: another file may follow.
    global heard
    heard = time.ticks_ms()
    ping()


def report():
    sensor.measure()
    values = '{"temperature": %.1f, "humidity": %.1f}' % (sensor.temperature(), sensor.humidity())
    client.publish(TOPIC, values.encode(), True, 1)


def listen():
    global heard
    heard = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), heard) < LISTEN:
        client.check_msg()
        time.sleep_ms(PAUSE)


client = MQTTClient(NAME, HOST, PORT, USER, PASSWORD, KEEPALIVE)
ota = mqtt_ota.attach(client, NAME)
ping = ota.alive
ota.alive = stay
try:
    wifi.connect()
    client.connect(False)  # not a new session: the broker keeps what is offered during the sleep
    ota.start()
    print(NAME, "is ready")
    try:
        report()
    finally:  # a mistake in the report must not keep out the update that mends it
        listen()
    client.disconnect()
except Exception as error:  # any: the battery must not run down for it
    sys.print_exception(error)
deepsleep(SLEEP)
