# A DHT22, whose temperature and humidity are published to NAME/dht22 every minute. As app.py.
import sys
import time

from dht import DHT22
from machine import Pin
from umqtt.simple import MQTTClient

import mqtt_ota
import wifi
from settings import HOST, NAME, PASSWORD, PORT, USER

SENSOR = 4  # GPIO of the data line
PERIOD = 60  # s between two measurements
KEEPALIVE = 60  # s; check_msg pings the broker twice as often
RETRY = 5  # s between two attempts to connect
PAUSE = 50  # ms between two looks for a message

TOPIC = (NAME + "/dht22").encode()

sensor = DHT22(Pin(SENSOR))


def report():
    try:
        sensor.measure()
    except OSError as error:
        print("no answer from the sensor:", error)
        return
    values = '{"temperature": %.1f, "humidity": %.1f}' % (sensor.temperature(), sensor.humidity())
    client.publish(TOPIC, values.encode(), False, 1)


def run():
    wifi.connect()
    client.connect()
    ota.start()
    print(NAME, "is ready")
    due = time.ticks_ms()
    while True:
        wifi.connect()
        client.check_msg()
        if time.ticks_diff(time.ticks_ms(), due) >= 0:
            due = time.ticks_add(time.ticks_ms(), PERIOD * 1000)
            report()
        time.sleep_ms(PAUSE)


client = MQTTClient(NAME, HOST, PORT, USER, PASSWORD, KEEPALIVE)
ota = mqtt_ota.attach(client, NAME)
while True:
    try:
        run()
    except Exception as error:  # any: it has to stay reachable for the update that mends it
        sys.print_exception(error)
        if client.sock:
            client.sock.close()
        time.sleep(RETRY)
