# The device of `mqtt-ota demo`: takes plain offers, answers with statuses, prints each step.
#
#     micropython device.py HOST PORT NAME ROOT
#
# To be read and to be tried with, on MicroPython 1.25 (unix port) or CPython 3. It needs no library,
# allocates one buffer for all transfers, and waits for nothing without a limit.
import binascii
import errno
import hashlib
import os
import select
import socket
import sys
import time

BUFFER = memoryview(bytearray(1024))
TIMEOUT = 10  # seconds for one connect and for one read
KEEPALIVE = 60  # seconds; the broker is pinged three times as often
MAX_MESSAGE = 1024  # bytes of an offer
MAX_PACKET = MAX_MESSAGE + 256  # bytes; what is longer is cut off
NO_SPACE = 28  # MicroPython's errno has no name for it
STATE = ".mqtt-ota"  # the folder under the root that no offer may name


def connect(host, port):
    info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(info[0], socket.SOCK_STREAM)
    try:
        sock.settimeout(TIMEOUT)
        sock.connect(info[-1])
        return sock
    except OSError:
        sock.close()
        raise


class Mqtt:
    """As much of MQTT 3.1.1 as a device needs: one subscription, everything QoS 1."""

    def __init__(self, host, port, client):
        self.offers = []  # came while something else was waited for
        self.sock = connect(host, port)
        self.poll = select.poll()
        self.poll.register(self.sock, select.POLLIN)
        self.send(0x10, self.text("MQTT") + bytes([4, 2, 0, KEEPALIVE]) + self.text(client))
        if self.wait(0x20)[1]:
            raise OSError("the broker refuses the connection")

    def text(self, text):
        data = text.encode()
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
            if kind & 6:
                self.send(0x40, body[start:start + 2])
                start += 2
            if len(self.offers) < 8:
                self.offers.append(body[start:])
        return kind & 0xF0, body

    def wait(self, kind):
        while True:
            got, body = self.receive()
            if got == kind:
                return body

    def subscribe(self, topic):
        self.send(0x82, b"\x00\x01" + self.text(topic) + b"\x01")
        self.wait(0x90)

    def publish(self, topic, text, retain=0):
        self.send(0x32 | retain, self.text(topic) + b"\x00\x02" + text.encode())
        self.wait(0x40)

    def next_offer(self):
        while not self.offers:
            if self.poll.poll(KEEPALIVE * 1000 // 3):
                self.receive()
            else:
                self.send(0xC0)
                self.wait(0xD0)
        return self.offers.pop(0)


class Failed(Exception):
    """The file is not installed; the argument is the detail of the status."""


def parse(text):
    """An offer's host, port, file, hash and whether to reboot."""
    fields = text.split("|")
    if not 4 <= len(fields) <= 5 or fields[4:] not in ([], ["0"], ["1"]):
        raise Failed("bad-offer it is host|port|file|hash, and |0 or |1")
    host, port, file, digest = fields[:4]
    if not host or not all(c.isalpha() or c.isdigit() or c in ".:-_" for c in host):
        raise Failed("bad-offer host")
    if not all(c in "0123456789" for c in port) or not 0 < int("0" + port[:6]) < 65536:
        raise Failed("bad-offer port")
    if len(digest) not in (40, 64) or not all(c in "0123456789abcdef" for c in digest):
        raise Failed("bad-offer hash")
    parts = file.split("/")
    if len(file.encode()) > 128 or parts[0].lower() == STATE or any(p in ("", ".", "..") for p in parts):
        raise Failed("bad-name")
    if any(c < " " or "\x7f" <= c <= "\x9f" or c == "\\" for c in file):
        raise Failed("bad-name")
    return host, int(port), file, digest, fields[4:] != ["0"]


def pump(read, digest, write=None):
    """Moves a stream through the buffer; returns its length and its hash."""
    hasher = (hashlib.sha1 if len(digest) == 40 else hashlib.sha256)()
    total = 0
    while True:
        try:
            count = read(BUFFER)
        except OSError as error:
            late = error.args[0] in (errno.EAGAIN, errno.ETIMEDOUT, "timed out")
            raise Failed("%s %s" % ("timeout" if late else "short", error))
        if not count:
            return total, binascii.hexlify(hasher.digest()).decode()
        hasher.update(BUFFER[:count])
        if write:
            write(BUFFER[:count])
        total += count


def quietly(call, path):
    """Makes a folder that may be there, or removes a file that may not; what matters fails later."""
    try:
        call(path)
    except OSError:
        pass


class Device:
    def __init__(self, host, port, name, root):
        self.host, self.port, self.name, self.root = host, port, name, root
        self.boots, self.installed = 0, None  # the "file|hash" that waits for its boot
        quietly(os.mkdir, root + "/" + STATE)

    def boot(self):
        self.boots += 1
        system = "%s %d.%d.%d" % ((sys.platform,) + tuple(sys.implementation.version[:3]))
        disk = os.statvfs(self.root)
        self.mqtt = Mqtt(self.host, self.port, self.name)
        self.mqtt.subscribe(self.name + "/OTA")
        self.mqtt.publish(self.name + "/OTA/device", "v=1|client=demo 0.1.0|sys=%s|addr=127.0.0.1|free=%d|"
                          "hash=sha1,sha256|boots=%d" % (system, disk[1] * disk[4], self.boots), 1)
        print("booted %s on %s: announced, waiting for offers" % (self.name, system))
        if self.installed:
            self.report("running", self.installed)
            self.installed = None

    def report(self, state, what, detail=""):
        print(("%s %r %s" % (state, what.split("|")[0], detail)).rstrip())
        self.mqtt.publish(self.name + "/OTA/status", "%s|%s|%s" % (state, what, detail))

    def has(self, file, digest):
        try:
            with open(self.root + "/" + file, "rb") as old:
                return pump(old.readinto, digest)[1] == digest
        except (OSError, Failed):
            return False  # not there, or not readable: it will be replaced

    def fetch(self, host, port, file, digest):
        temporary = self.root + "/" + STATE + "/new"
        try:
            sock = connect(host, port)
        except (OSError, ValueError) as error:
            raise Failed("connect %s:%d %s" % (host, port, error))
        try:
            # A device's sockets have readinto; CPython's have the same under another name.
            read = sock.readinto if hasattr(sock, "readinto") else sock.recv_into
            with open(temporary, "wb") as new:
                total, got = pump(read, digest, new.write)
            if got != digest:
                raise Failed("hash-mismatch %d bytes have %s" % (total, got))
            for end, c in enumerate(file):
                if c == "/":
                    quietly(os.mkdir, self.root + "/" + file[:end])
            os.rename(temporary, self.root + "/" + file)
        except OSError as error:
            raise Failed("%s %s" % ("no-space" if error.args[0] == NO_SPACE else "write", error))
        finally:
            sock.close()
            quietly(os.remove, temporary)

    def handle(self, message):
        """Does what an offer asks, reports it, and returns whether to boot now."""
        try:
            text = message.decode() if len(message) <= MAX_MESSAGE else ""
        except ValueError:
            text = ""
        fields = (text.split("|") + [""] * 4)[2:4]
        what = fields[0][:128] + "|" + fields[1][:64]
        try:
            host, port, file, digest, reboot = parse(text)
            if self.has(file, digest):
                self.report("installed", what, "unchanged")
            else:
                self.report("receiving", what)
                self.fetch(host, port, file, digest)
                self.installed = what
                self.report("installed", what)
            return reboot and self.installed
        except Failed as failed:
            self.report("failed", what, failed.args[0])

    def run(self):
        while True:
            try:
                self.boot()
                while not self.handle(self.mqtt.next_offer()):
                    pass
                print("rebooting")
                self.mqtt.send(0xE0)
                self.mqtt.sock.close()
            except (OSError, IndexError) as error:
                print("no broker:", error)
                time.sleep(1)


if hasattr(sys.stdout, "reconfigure"):
    sys.stdout.reconfigure(line_buffering=True)  # CPython would keep the steps back
Device(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]).run()
