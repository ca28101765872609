"""The stream from the sender, straight to flash; loaded for as long as that takes."""

import os
import select
import socket
from errno import EAGAIN, EALREADY, EINPROGRESS, ETIMEDOUT

from mqtt_ota import NEXT, WAIT, const, ticks_diff, ticks_ms
from mqtt_ota_work import Failed, move, new_hash, size_of

try:
    from time import sleep_ms
except ImportError:
    from mqtt_ota_python import sleep_ms

_CHUNK = const(512)  # bytes: what a step reads, hashes and writes; less than one TCP segment
_FLUSH = const(8192)  # bytes of a file that a power cut may cost
_TIMEOUT = const(10000)  # ms for a connection, for each next chunk, and for the broker's answers
_MINUTE = const(60000)  # ms over which a stream has to have its least rate
_ATTEMPTS = const(4)  # connections in a row that bring next to nothing
_PAUSE = const(1000)  # ms before each further one


def first(ota, offer, last=0):
    """Fetches item 0 of an extended offer into `part`; in steps.

    Items up to the last one will be asked for with it; all, if that is "".
    """
    total = 0 if offer.set else offer.size  # a set's is not known yet
    return Transfer(ota, offer, total).fetch(0, last, ota.folder + "part", offer.digest, offer.size)


class Transfer:
    """Fetches what an offer has, over as many connections as that takes."""

    def __init__(self, ota, offer, total=0):
        self.ota = ota
        self.offer = offer
        self.left = 0  # bytes until the end of what is read
        self.since = ticks_ms()  # when a minute began,
        self.mark = 0  # and with how many bytes
        self.done = 0  # bytes, for the progress
        self.total = total

    def fetch(self, item, last, path, digest, size):
        """Fetches what is missing of an item, whose first bytes may be in the file; in steps.

        Those up to the last item will be next; all, if that is "".
        """
        hasher = new_hash(digest)
        offset = 0
        if size_of(path) > 0:
            offset = yield from move(path, hasher.update, self.ota._chunk)
        elif not size:
            open(path, "wb").close()
        offer = self.offer
        self.since = ticks_ms()
        self.mark = self.done
        attempts = 0
        while offset < size:
            start = offset
            try:
                if offer.next != item:
                    if offer.next >= 0:  # something else is on its way
                        self.close()
                    yield from self.ask("%d-%s %d" % (item, last, offset))
                    offer.next, offer.last = item, _FLUSH if last == "" else last
                with open(path, "ab") as file:
                    while offset < size:
                        self.left = part = min(size - offset, _FLUSH)
                        try:
                            yield from self.pump(hasher, file)
                        finally:
                            offset += part - self.left
                        file.flush()
            except Failed:
                self.close()
                attempts = 0 if offset - start > _CHUNK else attempts + 1
                if attempts >= _ATTEMPTS or self.ota._newer or self.mark < 0:
                    raise
                self.ota._wait = sleep_ms
                since = ticks_ms()
                while ticks_diff(ticks_ms(), since) < _PAUSE and not self.ota._newer:
                    yield WAIT
        if offer.next == item:
            offer.next = item + 1 if item < offer.last else -1
        if hasher.digest() != digest:
            os.remove(path)
            raise Failed("hash-mismatch of item %d" % item)

    def close(self):
        """Closes the connection to the sender, if there is one."""
        self.offer.next = -1
        if self.offer.sock:
            self.offer.sock.close()
            self.offer.sock = None

    def ask(self, request=None):
        """Connects, if that is not done, and sends a request, which a plain offer does without; in steps."""
        offer = self.offer
        line = ("%s %s\n" % (offer.id, request)).encode() if request else b""
        sock = offer.sock
        since = ticks_ms()
        try:
            if not sock:
                info = socket.getaddrinfo(offer.host, offer.port, 0, socket.SOCK_STREAM)[0]
                sock = offer.sock = socket.socket(info[0], socket.SOCK_STREAM)
                sock.setblocking(False)
                try:
                    sock.connect(info[-1])
                except OSError as error:
                    if error.args[0] != EINPROGRESS:
                        raise
                poller = select.poll()
                # lwIP calls a socket writable before it is connected, but also takes what is written then.
                poller.register(sock, select.POLLOUT if line else select.POLLIN)
                self.ota._wait = getattr(poller, "ipoll", poller.poll)  # where it is there, it allocates nothing
                while not poller.poll(0):
                    if self.ota._newer:
                        raise OSError("a newer offer")
                    if ticks_diff(ticks_ms(), since) > _TIMEOUT:
                        try:
                            sock.connect(info[-1])
                        except OSError as error:
                            if error.args[0] == EALREADY:
                                raise OSError(ETIMEDOUT)
                        raise Failed("timeout after %d bytes" % 0)
                    yield WAIT
                if line:
                    poller.modify(sock, select.POLLIN)
                elif poller.poll(0)[0][1] != select.POLLIN:
                    sock.recv(1)  # raises what the connection failed with
            while line:
                try:
                    line = line[sock.send(line) :]
                except OSError as error:
                    if error.args[0] != EAGAIN or ticks_diff(ticks_ms(), since) > _TIMEOUT:
                        raise
                    yield WAIT
        except (OSError, ValueError) as error:
            raise Failed("connect %s:%d %s" % (offer.host, offer.port, error))

    def read(self, chunk):
        """Reads as of a stream that ends after what is left."""
        if self.ota.progress:
            self.ota.progress(self.done, self.total)
        if ticks_diff(ticks_ms(), self.since) > _MINUTE:
            if (self.done - self.mark) * 1000 < self.ota.rate * _MINUTE:
                count, self.mark = self.done - self.mark, -1  # which no connection mends
                raise Failed("timeout %d bytes in a minute" % count)
            self.since = ticks_ms()
            self.mark = self.done
        if self.left < _CHUNK:
            if not self.left:
                return 0
            chunk = chunk[: self.left]
        sock = self.offer.sock
        count = sock.readinto(chunk) if hasattr(sock, "readinto") else sock.recv_into(chunk)
        if count:
            self.left -= count
            self.done += count
        elif count == 0 and self.offer.id:
            raise OSError("the sender closed")
        return count

    def pump(self, hasher, file):
        """Moves what is left through the one buffer, and returns its length; in steps.

        It allocates nothing, but for a part of a chunk that is not as long as the part before.
        """
        chunk = short = self.ota._chunk
        total = mark = 0
        since = ticks_ms()
        while True:
            try:
                count = self.read(chunk)
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
                file.write(part)
                total += count
                if total > self.ota.limit:
                    raise Failed("no-space over %d bytes" % self.ota.limit)
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


lambda: 0x4578b17  # the end
