"""MQTT 5 by paho-mqtt against a broker: paho_version5.py HOST PORT. Prints a line for each thing that was seen."""
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

host, port = sys.argv[1], int(sys.argv[2])


def client(name, seconds=0, clean=True):
    """A connected client, whose events come in order from its queue."""
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
    made.seen = queue.Queue()
    made.on_connect = lambda c, u, flags, reason, properties: made.seen.put(("connect", reason, flags, properties))
    made.on_disconnect = lambda c, u, flags, reason, properties: made.seen.put(("disconnect", reason))
    made.on_message = lambda c, u, message: made.seen.put(("message", message))
    made.on_publish = lambda c, u, mid, reason, properties: made.seen.put(("publish", reason))
    made.on_subscribe = lambda c, u, mid, reasons, properties: made.seen.put(("subscribe", reasons))
    made.on_unsubscribe = lambda c, u, mid, reasons, properties: made.seen.put(("unsubscribe", reasons))
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = seconds
    made.connect(host, port, clean_start=clean, properties=properties)
    made.loop_start()
    return made


def next_of(made, kind):
    while True:
        event = made.seen.get(timeout=20)
        if event[0] == kind:
            return event[1:]


one = client("one")
reason, flags, properties = next_of(one, "connect")
print("connected:", reason, "shared:", properties.SharedSubscriptionAvailable, "aliases:", properties.TopicAliasMaximum)

one.publish("nobody/OTA", "x", qos=1)
print("published to nobody:", next_of(one, "publish")[0])
one.publish("nobody/OTA", "x", qos=2)
print("published to nobody with QoS 2:", next_of(one, "publish")[0])

one.subscribe("$share/group/x", 1)
print("shared:", next_of(one, "subscribe")[0][0])
one.subscribe("a/+", options=SubscribeOptions(qos=2))
print("subscribed:", next_of(one, "subscribe")[0][0])

properties = Properties(PacketTypes.PUBLISH)
properties.MessageExpiryInterval = 60
properties.ResponseTopic = "reply"
properties.UserProperty = ("key", "value")
for qos in range(3):
    one.publish("a/b", "hello", qos=qos, properties=properties)
    message = next_of(one, "message")[0]
    print("arrived:", message.payload.decode(), message.qos, message.properties.ResponseTopic, message.properties.UserProperty)

one.unsubscribe("a/+")
print("unsubscribed:", next_of(one, "unsubscribe")[0][0])
one.unsubscribe("a/+")
print("unsubscribed again:", next_of(one, "unsubscribe")[0][0])

sleeper = client("sleeper", 60)
next_of(sleeper, "connect")
sleeper.subscribe("sleeper/OTA", 1)
next_of(sleeper, "subscribe")
sleeper.disconnect()
next_of(sleeper, "disconnect")
properties = Properties(PacketTypes.PUBLISH)
properties.MessageExpiryInterval = 0
one.publish("sleeper/OTA", "expired", qos=1, properties=properties)
print("published to a sleeper:", next_of(one, "publish")[0])
one.publish("sleeper/OTA", "lasting", qos=1)
next_of(one, "publish")
sleeper = client("sleeper", 60, clean=False)
print("session:", next_of(sleeper, "connect")[1].session_present)
print("woke to:", next_of(sleeper, "message")[0].payload.decode())

taker = client("one")
next_of(taker, "connect")
print("taken over:", next_of(one, "disconnect")[0])
one.loop_stop()
