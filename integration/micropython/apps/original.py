# The firmware of 2018, as far as it shows on the wire: announces nothing, reports nothing, and does all in
# the callback. New senders must go on serving it.
import hashlib
import os
import socket
from binascii import hexlify

from machine import reset
from settings import HOST, NAME, PORT
from umqtt.simple import MQTTClient

VERSION = "1"


def on_message(topic, message):
    if len(message) < 45:
        return
    try:
        fields = message.decode().split("|")
        host, port, file, digest = fields[:4]
        sock = socket.socket()
        sock.connect(socket.getaddrinfo(host, int(port))[0][-1])
        hasher = hashlib.sha1()
        with open("tmp", "wb") as temporary:
            while True:
                chunk = sock.recv(1024)
                if not chunk:
                    break
                hasher.update(chunk)
                temporary.write(chunk)
        sock.close()
    except Exception:
        reset()
    if hexlify(hasher.digest()).decode() != digest:
        print("another hash")
        return
    os.rename("tmp", file)
    print("installed", file)
    # Six fields and more are "no fifth field".
    if len(fields) == 5 and fields[4] == "0":
        return
    reset()


client = MQTTClient(NAME, HOST, PORT)
client.set_callback(on_message)
client.connect()
client.subscribe(NAME + "/OTA")
print("version", VERSION, "is ready")
while True:
    client.wait_msg()
