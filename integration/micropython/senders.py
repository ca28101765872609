"""Senders in the process of the client itself: they serve whenever it waits for them.

For MicroPython and CPython.
"""

import os
import socket
from binascii import hexlify
from errno import EAGAIN, ECONNRESET
from hashlib import sha1, sha256

EPIPE = 32  # MicroPython has no name for it
WAIT = 1  # as mqtt_ota.WAIT, which may have been loaded from somewhere else


def hexadecimal(digest):
    return str(hexlify(digest), "utf-8")


class Sender:
    """Offers plain files, and sends each to whoever connects."""

    def __init__(self):
        self.listener = socket.socket()
        while True:  # MicroPython has no way to ask which port the system chose
            self.port = 10000 + int.from_bytes(os.urandom(2), "little") % 20000
            try:
                self.listener.bind(socket.getaddrinfo("127.0.0.1", self.port)[0][-1])
                break
            except OSError:
                pass
        self.listener.listen(1)
        self.listener.setblocking(False)
        self.stream = None
        self.rest = b""

    def installs(self, ota, path, file, installed=None, short=False):
        """Whether the client says that it installed the file; calls `installed` as soon as it does."""
        self.rest = memoryview(file)[: len(file) // 2 if short else len(file)]
        offer = "127.0.0.1|%d|%s|%s" % (self.port, path, hexadecimal(sha1(file).digest()))
        done = False
        for status in self.statuses(ota, offer):
            if status.startswith("installed|") and status.endswith("|"):
                done = True
                if installed:
                    installed()
        return done

    def statuses(self, ota, offer):
        """What the client says to an offer that is served meanwhile."""
        ota.message(ota.topic, offer.encode())
        try:
            for step in ota.steps():
                if step == WAIT:
                    if not self.serves():
                        ota._wait(250)
                    while self.serves():
                        pass
                elif step:
                    yield step
        finally:
            self.ends()

    def ends(self):
        while self.stream or self.accepts():  # left behind by a client that gave up
            self.close()

    def accepts(self):
        try:
            self.stream = self.listener.accept()[0]
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            return False
        self.stream.setblocking(False)
        return True

    def serves(self):
        """Does what can be done at once; whether that was anything."""
        if not self.stream:
            return self.accepts()
        try:
            self.rest = self.rest[self.stream.send(self.rest) :]
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            return False
        if not len(self.rest):
            self.close()
        return True

    def close(self):
        self.stream.close()
        self.stream = None


def manifest(files):
    """The manifest of {path: bytes}, and the bytes of its lines in their order."""
    text = b""
    items = []
    for path in sorted(files, key=lambda path: path.encode()):
        text += b"%s %d %s\n" % (hexlify(sha256(files[path]).digest()), len(files[path]), path.encode())
        items.append(files[path])
    return text, items


class Extended(Sender):
    """Offers sets, and single files that resume."""

    def __init__(self):
        super().__init__()
        self.items = ()  # bytes of each
        self.requests = []  # all that came, without the id
        self.line = b""
        self.id = 0
        self.breaks = []  # after how many bytes each next connection is lost
        self.left = None  # of those

    def syncs(self, ota, files, options="", text=None, size=None):
        """Offers {path: bytes} as a set, and returns the client's statuses. A manifest can be given."""
        made, items = manifest(files)
        if text is None:
            text = made
        return self.offers(ota, "set", [text] + items, "|set=1" + options, size)

    def sends(self, ota, path, file):
        return self.offers(ota, path, [file], "")

    def rolls_back(self, ota, digest):
        return self.answers(ota, "0.0.0.0|1|set|%s|1|id=0123456789abcdef|size=0|rollback=1" % digest)

    def offers(self, ota, name, items, options, size=None):
        self.items = items
        self.requests.clear()
        self.id += 1
        digest = hexadecimal(sha256(items[0]).digest())
        size = len(items[0]) if size is None else size
        return self.answers(
            ota,
            "127.0.0.1|%d|%s|%s|1|id=%016x|size=%d%s" % (self.port, name, digest, self.id, size, options),
        )

    def answers(self, ota, offer):
        return [status for status in self.statuses(ota, offer) if not status.startswith("receiving|")]

    def accepts(self):
        if not super().accepts():
            return False
        self.rest = memoryview(b"")
        self.line = b""
        self.left = self.breaks.pop(0) if self.breaks else None
        return True

    def ends(self):
        while self.stream or self.accepts():
            try:
                while self.stream and not len(self.rest) and self.serves():  # what it said before it went
                    pass
            except OSError:
                pass  # it did not take everything
            if self.stream:
                self.close()

    def serves(self):
        if not self.stream:
            return self.accepts()
        if not len(self.rest):
            try:
                part = self.stream.recv(200)
            except OSError as error:
                return self.lost(error)
            self.line += part
            if not part:
                self.close()
                return True
            while b"\n" in self.line:
                line, self.line = self.line.split(b"\n", 1)
                self.hears(str(line, "utf-8"))
            return True
        part = self.rest if self.left is None else self.rest[: self.left]
        try:
            count = self.stream.send(part)
        except OSError as error:
            return self.lost(error)
        self.rest = self.rest[count:]
        if self.left is not None:
            self.left -= count
            if not self.left:
                self.close()
        return True

    def lost(self, error):
        if error.errno == EAGAIN:
            return False
        if error.errno not in (ECONNRESET, EPIPE):
            raise error
        self.rest = memoryview(b"")
        self.close()  # the client has gone, and did not take everything
        return True

    def hears(self, line):
        id, request = line.split(" ", 1)
        if id != "%016x" % self.id:
            raise ValueError(line)
        self.requests.append(request)
        words = request.split(" ")
        if len(words) == 2 and words[0] != "-":
            first, last = words[0].split("-")
            last = last or len(self.items) - 1
            if len(self.rest):
                raise ValueError("a request before the answer to the last one was over")
            items = b"".join(self.items[int(first) : int(last) + 1])
            if int(words[1]) > len(self.items[int(first)]) or int(last) >= len(self.items):
                raise ValueError(line)
            self.rest = memoryview(items)[int(words[1]) :]
