# The application of the tests: has a topic of its own, on which it answers, and takes updates.
import time

import mqtt_ota
from settings import BLOCKS, CLIENT, HOST, KEEPALIVE, NAME, PORT

VERSION = "1"

if CLIENT == "simple2":
    from umqtt.simple2 import MQTTClient, MQTTException
elif CLIENT == "robust":
    from umqtt.robust import MQTTClient
    from umqtt.simple import MQTTException
else:
    from umqtt.simple import MQTTClient, MQTTException

topic = NAME + "/lamp"
client = MQTTClient(NAME, HOST, PORT, keepalive=KEEPALIVE)


def on_message(topic, message, *_):
    print("app", topic.decode(), message)
    client.publish(topic + b"/said", b"heard " + message, qos=1)


client.set_callback(on_message)
ota = mqtt_ota.attach(client, NAME, address=HOST)


def connect():
    while True:
        try:
            client.connect()
            client.subscribe(topic, 1)
            ota.start()
            print("version", VERSION, "is ready")
            return
        except (OSError, MQTTException) as error:
            print("no broker:", error)
            time.sleep_ms(200)


connect()
while True:
    try:
        client.wait_msg() if BLOCKS else client.check_msg()
    except (OSError, MQTTException) as error:
        print("lost:", error)
        connect()
    time.sleep_ms(10)
