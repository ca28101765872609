"""Sends one file as `mqtt-ota send` does, in the plainest Python: what the benchmark compares with.

    paho_sender.py BROKER_PORT DEVICE FILE

Connects to the broker on this machine, listens, publishes `host|port|file|sha1` with QoS 1, waits for the
acknowledgement, serves the file once, and ends when the device has closed. It does not wait for the
device's word, so it has less to do than what it is compared with.
"""

import hashlib
import os
import socket
import sys
import threading

import paho.mqtt.client as mqtt

HOST = "127.0.0.1"
TIMEOUT = 30  # seconds, for each step
CHUNK = 128 * 1024  # bytes


def sha1(path):
    digest = hashlib.sha1()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def main():
    broker_port, device, path = sys.argv[1:]
    connected = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: connected.set()
    client.connect(HOST, int(broker_port))
    client.loop_start()
    if not connected.wait(TIMEOUT):
        sys.exit("the broker does not answer")

    with socket.create_server((HOST, 0)) as server:
        server.settimeout(TIMEOUT)
        port = server.getsockname()[1]
        offer = f"{HOST}|{port}|{os.path.basename(path)}|{sha1(path)}"
        client.publish(f"{device}/OTA", offer, qos=1).wait_for_publish(TIMEOUT)
        connection, _ = server.accept()
    with connection, open(path, "rb") as file:
        connection.settimeout(TIMEOUT)
        connection.sendfile(file)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    client.disconnect()
    client.loop_stop()


main()
