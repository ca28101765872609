# Your application. This one publishes its free memory to NAME/free, and prints what is published to NAME/say.
import gc
import time

import broker
import mqtt_ota
import wifi
from settings import NAME

PERIOD = 10 * 1000  # ms between two messages
PAUSE = 20  # ms between two looks for a message
RETRY = 5  # s between two attempts to connect

FREE = (NAME + "/free").encode()
SAY = (NAME + "/say").encode()


def on_message(topic, message):
    print(message.decode())


def run():
    wifi.connect()
    client.connect()
    client.subscribe(SAY, 1)
    ota.start()
    print(NAME, "is ready")
    due = time.ticks_ms()
    while True:
        wifi.connect()
        client.check_msg()
        if time.ticks_diff(time.ticks_ms(), due) >= 0:
            due = time.ticks_add(due, PERIOD)
            client.publish(FREE, str(gc.mem_free()).encode())
        time.sleep_ms(PAUSE)


client = broker.client()
client.set_callback(on_message)
ota = mqtt_ota.attach(client, NAME)
while True:
    try:
        run()
    except broker.LOST as problem:  # the network comes back; anything else is a mistake, which main.py tells
        print(problem)
        if client.sock:
            client.sock.close()
        time.sleep(RETRY)
