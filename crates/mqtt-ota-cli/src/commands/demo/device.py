# The device of `mqtt-ota demo`: an application that blinks no lamp, and takes updates.
#
#     micropython device.py HOST PORT NAME ROOT
#
# On a board, umqtt.simple would be the MQTT client, and mqtt_ota.attach all that is to be said. Here it
# is a small one of its own, which shows how any client is used, and runs on MicroPython's unix port and
# on CPython 3.
import select
import socket
import sys
import time

import mqtt_ota

KEEPALIVE = 60  # seconds; the broker is pinged three times as often
PAUSE = 1000  # ms between two calls of the client's poll, where nothing comes
TIMEOUT = 10  # seconds for what the broker is to answer
MAX_PACKET = 1280  # bytes; what is longer is cut off


class Mqtt:
    """As much of MQTT 3.1.1 as a device needs: one subscription, everything QoS 1."""

    def __init__(self, host, port, client, on_message):
        self.on_message = on_message
        info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        self.sock = socket.socket(info[0], socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(info[-1])
        self.poll = select.poll()
        self.poll.register(self.sock, select.POLLIN)
        self.pinged = time.time()
        self.send(0x10, self.text("MQTT") + bytes([4, 2, 0, KEEPALIVE]) + self.text(client))
        if self.wait(0x20)[1]:
            raise OSError("the broker refuses the connection")

    def text(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        return bytes([len(data) >> 8, len(data) & 255]) + data

    def send(self, kind, body=b""):
        length = len(body)  # at most two digits of base 128 here
        data = bytes([kind, length] if length < 128 else [kind, length & 127 | 128, length >> 7]) + body
        while data:
            data = data[self.sock.send(data):]

    def read(self, count):
        data = b""
        while len(data) < count:
            got = self.sock.recv(min(count - len(data), 512))
            if not got:
                raise OSError("the broker closed the connection")
            data += got
        return data

    def receive(self):
        kind, length, shift, more = self.read(1)[0], 0, 0, 128
        while more and shift < 28:
            byte = self.read(1)[0]
            length, shift, more = length | (byte & 127) << shift, shift + 7, byte & 128
        body = self.read(min(length, MAX_PACKET))
        while length > MAX_PACKET:
            length -= len(self.read(min(length - MAX_PACKET, 512)))
        if kind & 0xF0 == 0x30:
            start = 2 + (body[0] << 8 | body[1])
            topic = body[2:start]
            if kind & 6:
                self.send(0x40, body[start:start + 2])
                start += 2
            self.on_message(topic, body[start:])
        return kind & 0xF0, body

    def wait(self, kind):
        while True:
            got, body = self.receive()
            if got == kind:
                return body

    def subscribe(self, topic):
        self.send(0x82, b"\x00\x01" + self.text(topic) + b"\x01")
        self.wait(0x90)

    def publish(self, topic, message, retain):
        self.send(0x33 if retain else 0x32, self.text(topic) + b"\x00\x02" + message)
        self.wait(0x40)

    def alive(self):
        if self.poll.poll(0):
            self.receive()
        if not 0 <= time.time() - self.pinged < KEEPALIVE // 3:
            self.pinged = time.time()
            self.send(0xC0)  # the answer comes when it comes

    def check(self):
        """Takes the next message, or waits a while for one."""
        self.poll.poll(PAUSE)
        self.alive()


class Rebooted(Exception):
    """Instead of machine.reset."""


class Device(mqtt_ota.Ota):
    def __init__(self, host, port, name, root):
        super().__init__(name, root=root, reset=self.reboot)
        self.mqtt = Mqtt(host, port, name, self.message)
        self.mqtt.subscribe(self.topic)
        self.announce()
        print("booted %s on %s: announced, waiting for offers" % (name, sys.platform + version()))

    def publish(self, topic, message, retain):
        if not retain:
            state, file, _, detail = message.decode().split("|", 3)
            print(("%s %r %s" % (state, file, detail)).rstrip())
        self.mqtt.publish(topic, message, retain)

    def alive(self):
        try:
            self.mqtt.alive()
        except OSError:
            pass  # the file is worth more; `run` finds out

    def reboot(self):
        print("rebooting")
        self.mqtt.send(0xE0)
        self.mqtt.sock.close()
        raise Rebooted

    def run(self):
        while True:
            self.mqtt.check()
            self.poll()


def version():
    return " %d.%d.%d" % tuple(sys.implementation.version[:3])


if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(line_buffering=True)  # CPython would keep the steps back
while True:
    try:
        Device(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]).run()
    except Rebooted:
        pass
    except (OSError, IndexError) as error:
        print("no broker:", error)
        time.sleep(1)
