"""Updates for a MicroPython device: an offer comes by MQTT, the file by TCP, straight to flash.

    ota = mqtt_ota.attach(client, "NIGHTLAMP")  # an umqtt client; hides NIGHTLAMP/OTA
    client.connect()
    ota.start()                                 # subscribes, announces
    while True:
        client.check_msg()                      # as before

For any other MQTT client, use Ota itself. Runs on MicroPython 1.19 and newer and on CPython 3.8 and
newer. MIT or Apache-2.0, https://github.com/mqtt-ota/mqtt-ota
"""

import gc
import hashlib
import os
import select
import socket
import sys
from binascii import unhexlify
from errno import EAGAIN, EALREADY, EINPROGRESS, ETIMEDOUT

try:
    from micropython import const
    from time import ticks_diff, ticks_ms
except ImportError:  # CPython
    from time import monotonic

    const = int
    ticks_diff = int.__sub__
    ticks_ms = lambda: int(monotonic() * 1000)

__version__ = "0.1.0"

_CHUNK = const(512)  # bytes: what a step reads, hashes and writes; less than one TCP segment
_TIMEOUT = const(10000)  # ms for a connection, and for each next chunk
_MESSAGE = const(1024)  # bytes of an offer at most
_NOTED = const(4)  # offers that wait at most
_NO_SPACE = const(28)  # MicroPython's errno has no ENOSPC
_HOST = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:"  # what a host may have
_STATE = ".mqtt-ota"  # the client's own folder, below the root; no offer may name it
_boot = sys.modules.get("mqtt_ota_boot")  # where boot.py has called it, there can be sets of files

# What `Ota.steps` yields, beside a status: a chunk is done, or there is nothing to do before the
# socket is ready.
NEXT = const(0)
WAIT = const(1)


class Failed(Exception):
    """The file is not installed, and the old one untouched; the argument is the detail of the status."""


def parse(fields):
    """The host, port, file, hash and reboot flag of an offer that is split at its bars."""
    if len(fields) < 4 or fields[4:] not in ([], ["0"], ["1"]):
        raise Failed("bad-offer fields")
    host, port, file, digest = fields[:4]
    if not 0 < len(host) < 254 or host.strip(_HOST):
        raise Failed("bad-offer host")
    if not port or port.strip(_HOST[:10]) or not 0 < int(port) < 65536:
        raise Failed("bad-offer port")
    if len(file.encode()) > 128 or file.split("/")[0].lower() == _STATE:
        raise Failed("bad-name")
    for part in file.split("/"):
        if part in ("", ".", ".."):
            raise Failed("bad-name")
    last = 0
    for c in file.encode():  # each character of a text would be interned, and stay for ever
        if c < 32 or c in b"\\\x7f" or last == 0xC2 and c < 0xA0:
            raise Failed("bad-name")
        last = c
    if len(digest) not in (40, 64) or digest.strip(_HOST[:16]):
        raise Failed("bad-offer hash")
    return host, int(port), file, unhexlify(digest), fields[4:] != ["0"]


def _quietly(call, path):
    # Makes a folder that may be there, or removes a file that may not; what matters fails later.
    try:
        call(path)
    except OSError:
        pass


class Ota:
    """The device's side, for any MQTT client.

    name     the device's name: offers come on NAME/OTA
    publish  publish(topic, message, retain) sends bytes, with QoS 1 where it can, and may raise OSError
    root     the folder that the offered names are relative to; on a board the file system's own root
    reset    what reboots the device, machine.reset if nothing is given
    address  the device's own, if it knows one that the network module does not tell
    limit    bytes of a file at most
    """

    def __init__(self, name, publish=None, root="", reset=None, address=None, limit=1 << 24):
        if reset is None:
            from machine import reset
        self.topic = (name + "/OTA").encode()
        if publish:
            self.publish = publish
        self.root = root + "/"
        self.reset = reset
        self.address = address
        self.limit = limit
        self._noted = []
        self._busy = False
        self._sock = None
        self._installed = self._reboot = False  # something was since the boot; it waits for a reboot
        self._wait = None  # waits until the socket is ready, for so many ms at most
        self._chunk = memoryview(bytearray(_CHUNK))
        _quietly(os.remove, self.root + _STATE + "/new")  # what a power cut left

    def message(self, topic, message):
        """Notes an offer; False if the message is for somebody else. Returns at once, never raises."""
        if topic != self.topic:
            return False
        if len(self._noted) < _NOTED:
            self._noted.append(message if len(message) <= _MESSAGE else b"")
        return True

    def announce(self):
        """Publishes what this device is, retained: a device does so after each boot and connection."""
        address = self.address
        if not address:
            try:
                import network

                address = network.WLAN(network.STA_IF).ifconfig()[0]
            except (ImportError, AttributeError, OSError):
                pass
        disk = os.statvfs(self.root)
        return self.publish(
            self.topic + b"/device",
            (
                "v=1|client=mqtt_ota %s|%ssys=%s %d.%d.%d|%sfree=%d|hash=%ssha256"
                % (
                    (__version__, _boot.announcement() if _boot else "", sys.platform)
                    + tuple(sys.implementation.version[:3])
                    + (
                        "addr=%s|" % address if address and address != "0.0.0.0" else "",
                        disk[1] * (disk[4] if disk[4] <= disk[2] else 0),  # LittleFS wraps a little below 0
                        "sha1," if hasattr(hashlib, "sha1") else "",
                    )
                )
            ).encode(),
            True,
        )

    def poll(self):
        """Does what the noted offers ask, each to its end, and reboots if they say so.

        Blocks meanwhile, calling `alive` at least every quarter of a second. Raises nothing of its own.
        """
        if self._busy:
            return
        self._busy = True
        try:
            while self._noted:
                steps = self.steps()
                try:
                    for step in steps:
                        self.alive()
                        if step == WAIT:
                            self._wait(250)
                        elif step:
                            try:
                                self.publish(self.topic + b"/status", step.encode(), False)
                            except OSError:
                                pass  # the sender hears nothing, and offers again
                finally:
                    steps.close()
        finally:
            self._busy = False

    def alive(self):
        """Called during a transfer, for clients that must keep a connection alive."""

    def steps(self):
        """Does what the first noted offer asks, in steps: yields NEXT, WAIT, or a status to publish.

        After the last noted one it reboots, if one of them says so. Whoever leaves before the end must
        close() it: then the socket and the files are closed, and the temporary file is gone.
        """
        gc.collect()
        what = "|"
        status = "failed|"
        try:
            fields = str(self._noted.pop(0), "utf-8").split("|")
            if len(fields) > 3:
                what = fields[2][:128] + "|" + fields[3][:64]
            if _boot and len(fields) > 5:
                status, detail, reboot = yield from _boot.steps(self, fields, what)
            else:
                host, port, file, digest, reboot = parse(fields)
                fields = None  # from here on, what is kept is what a transfer takes
                hasher = getattr(hashlib, "sha1" if len(digest) == 20 else "sha256")
                detail = "unchanged"
                if not (yield from self._has(file, hasher(), digest)):
                    detail = ""
                    yield "receiving|" + what + "|"
                    gc.collect()  # so that the buffers of what comes find whole blocks
                    read = yield from self._connect(host, port)
                    hasher = hasher()
                    _quietly(os.mkdir, self.root + _STATE)
                    with open(self.root + _STATE + "/new", "wb") as temporary:
                        total = yield from self._pump(read, hasher, temporary.write)
                    if hasher.digest() != digest:
                        raise Failed("hash-mismatch %d bytes" % total)
                    end = file.find("/")
                    while end > 0:
                        _quietly(os.mkdir, self.root + file[:end])
                        end = file.find("/", end + 1)
                    if hasattr(os, "sync"):
                        os.sync()
                    if _boot:
                        _boot.alter()
                    os.rename(self.root + _STATE + "/new", self.root + file)
                    self._installed = True
                status = "installed|"
            # A file that was there already asks for no reboot, but for one that an earlier file waits for.
            if self._installed and reboot:
                self._reboot = True
        except Failed as failed:
            detail = failed.args[0]
        except (OSError, MemoryError) as error:
            detail = "%s %s" % ("no-space" if error.args[:1] == (_NO_SPACE,) else "write", error)
        except (ValueError, AttributeError):  # not UTF-8, or a hash that this board has not
            detail = "bad-offer"
        finally:
            self._wait = None
            if self._sock:
                self._sock.close()
                self._sock = None
            _quietly(os.remove, self.root + _STATE + "/new")
        yield status + what + "|" + detail
        if self._reboot and not self._noted:
            self._reboot = False
            self.reset()

    def _has(self, file, hasher, digest):
        try:
            with open(self.root + file, "rb") as old:
                yield from self._pump(old.readinto, hasher, None)
        except (OSError, Failed):
            return False  # not there, or not readable: it will be replaced
        return hasher.digest() == digest

    def _connect(self, host, port):
        # Returns what reads from the sender.
        try:
            info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
            sock = self._sock = socket.socket(info[0], socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                sock.connect(info[-1])
            except OSError as error:
                if error.args[0] != EINPROGRESS:
                    raise
            poller = select.poll()
            # Writable would say nothing: lwIP calls a socket so before it is connected.
            poller.register(sock, select.POLLIN)
            self._wait = getattr(poller, "ipoll", poller.poll)  # where it is there, it allocates nothing
            since = ticks_ms()
            while not poller.poll(0):
                if ticks_diff(ticks_ms(), since) > _TIMEOUT:
                    try:
                        sock.connect(info[-1])
                    except OSError as error:
                        if error.args[0] == EALREADY:
                            raise OSError(ETIMEDOUT)
                    raise Failed("timeout after %d bytes" % 0)
                yield WAIT
            if poller.poll(0)[0][1] != select.POLLIN:
                sock.recv(1)  # raises what the connection failed with
        except (OSError, ValueError) as error:
            raise Failed("connect %s:%d %s" % (host, port, error))
        return sock.readinto if hasattr(sock, "readinto") else sock.recv_into

    def _pump(self, read, hasher, write):
        # Moves a stream through the one buffer and returns its length. It allocates nothing, but for a
        # part of a chunk that is not as long as the part before.
        chunk = short = self._chunk
        total = mark = 0
        since = ticks_ms()
        while True:
            try:
                count = read(chunk)
            except OSError as error:
                if error.args[0] != EAGAIN:
                    raise Failed("short after %d bytes: %s" % (total, error))
                count = None  # as MicroPython has it
            if count:
                part = chunk
                if count < _CHUNK:
                    if count != len(short):
                        short = chunk[:count]
                    part = short
                hasher.update(part)
                if write:
                    write(part)
                total += count
                if total > self.limit:
                    raise Failed("no-space over %d bytes" % self.limit)
                if total - mark >= _CHUNK:  # a stream that only drips does not renew its time
                    mark = total
                    since = ticks_ms()
                yield NEXT
            elif count is None:
                if ticks_diff(ticks_ms(), since) > _TIMEOUT:
                    raise Failed("timeout after %d bytes" % total)
                yield WAIT
            else:
                return total


class _Umqtt(Ota):
    """Lets an umqtt client take the offers for NAME, and hides them from the application's callback.

    The options are those of Ota. Works with umqtt.simple 1.3.4 and newer, and with umqtt.robust.
    """

    # umqtt reads, dispatches and acknowledges inside wait_msg, which its other methods call as well. So
    # the client's methods are wrapped, and offers are done when the outermost of them has returned.

    def __init__(self, client, name, **options):
        super().__init__(name, **options)
        self.client = client
        self.callback = client.cb
        self._depth = 0
        self.sock = None  # the connection that is subscribed
        self._lost = False
        self._sent = 0  # ticks of the last packet to the broker
        client.cb = self._dispatch
        client.set_callback = self.set_callback
        for name in ("check_msg", "wait_msg", "publish", "subscribe", "unsubscribe", "reconnect"):
            if hasattr(client, name):
                self._wrap(name)

    def set_callback(self, callback):
        self.callback = callback

    def _dispatch(self, topic, message):
        if not self.message(topic, message) and self.callback:
            self.callback(topic, message)

    def _wrap(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            outermost = name[-3:] == "msg" and not self._depth
            if outermost:
                self.poll()  # an offer may have come while the client waited for an answer
            if self._busy:
                if name == "reconnect":  # umqtt.robust: it would try for ever
                    raise Failed("lost")
                if hasattr(self.client.sock, "settimeout"):  # a TLS socket has none
                    self.client.sock.settimeout(_TIMEOUT // 1000)  # each message takes it away again
            self._depth += 1
            try:
                result = method(*args, **kwargs)
            finally:
                self._depth -= 1
            if name == "reconnect":
                self._renew()
            elif outermost:
                self.poll()
            return result

        setattr(self.client, name, call)

    def start(self):
        """Subscribes and announces; call it after connect(). Raises what the client raises.

        A later connection is found out and started by itself, at the next message.
        """
        self.sock = self.client.sock
        self.client.subscribe(self.topic, 1)
        self.announce()

    def _renew(self):
        if self.sock is not self.client.sock:
            self._busy = True
            try:
                self.start()
            except Exception:  # umqtt raises its own class, and asserts on what it reads
                self._lost = True
            self._busy = False

    def poll(self):
        if self._busy:
            return
        self._renew()
        super().poll()
        if self._lost:
            # Whatever comes on this connection is out of step. The application finds it closed.
            self._lost = False
            if hasattr(self.client, "reconnect"):
                self.client.reconnect()
            else:
                self.client.sock.close()

    def publish(self, topic, message, retain):
        self._sent = ticks_ms()
        try:
            if self._lost:
                raise Failed
            self.client.publish(topic, message, retain, 1)
        except (OSError, Failed, AssertionError, IndexError, AttributeError):
            self._lost = True
            raise OSError(ETIMEDOUT)

    def alive(self):
        client = self.client
        if client.keepalive and ticks_diff(ticks_ms(), self._sent) > client.keepalive * 500:
            self._sent = ticks_ms()
            try:
                client.ping()
            except OSError:
                self._lost = True


attach = _Umqtt
