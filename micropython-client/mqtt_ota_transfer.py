"""Fetches the file of an offer; loaded with the client, or for as long as that takes where a boot can do it as well."""

import gc
import hashlib
import os
import select
import socket
import sys
from binascii import hexlify, unhexlify
from errno import EAGAIN, EALREADY, EINPROGRESS, ETIMEDOUT

from mqtt_ota import _STATE, NEXT, WAIT, Failed, answer, const, folder, remove, ticks_diff, ticks_ms

try:
    from time import sleep_ms
except ImportError:  # CPython
    from time import sleep

    sleep_ms = lambda ms: sleep(ms / 1000)

_CHUNK = const(512)  # bytes: what a step reads, hashes and writes; less than one TCP segment
_FLUSH = const(8192)  # bytes of a file that a power cut may cost
_TIMEOUT = const(10000)  # ms for a connection, for each next chunk, and for the broker's answers
_MINUTE = const(60000)  # ms over which a stream has to have its least rate
_ATTEMPTS = const(4)  # connections in a row that bring next to nothing
_PAUSE = const(1000)  # ms before each further one
_SPARE = const(8)  # blocks that must stay free: the journal's, the trial's, and what the file system moves
_NO_SPACE = const(28)  # MicroPython's errno has no ENOSPC
_READ_ONLY = const(30)  # nor EROFS
_HOST = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:"  # what a host may have
_boot = sys.modules.get("mqtt_ota_boot")
if not hasattr(_boot, "load"):  # one of 0.1 finds other modules
    _boot = None


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
        if part[-1:] in ("", ".", " "):  # FAT would strip these
            raise Failed("bad-name")
    last = 0
    for c in file.encode():  # each character of a text would be interned, and stay for ever
        # Nor what FAT calls a file whose name is long.
        if c < 32 or c in b"\\\x7f" or last == 0xC2 and c < 0xA0 or last == 0x7E and 48 <= c < 58:
            raise Failed("bad-name")
        last = c
    if len(digest) not in (40, 64) or digest.strip(_HOST[:16]):
        raise Failed("bad-offer hash")
    return host, int(port), file, unhexlify(digest), fields[4:] != ["0"]


def number(text, most=1 << 50):
    """A number in decimal digits. Raises ValueError."""
    if not text or len(text) > 15 or text.strip(_HOST[:10]) or int(text) > most:
        raise ValueError
    return int(text)


def new_hash(digest):
    """The hash function that has made a digest."""
    return getattr(hashlib, "sha1" if len(digest) == 20 else "sha256")()


def size_of(path):
    """Bytes of a file; below 0 if there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def blocks(size, block):
    """How many blocks a file takes; each of them has a few bytes that tell the others."""
    return 0 if size < 0 else size // (block - 16) + 1


def hidden(root, path):
    """The detail of a status: what MicroPython imports instead of this file; empty if nothing."""
    end = path.rfind(".")
    name = path[:end]
    if path[end:] in (".py", ".mpy") and name not in ("main", "boot") and sys.implementation.name == "micropython":
        others = (name, name + ".py", name[4:], name[4:] + ".py", name[4:] + ".mpy")
        for other in others[: 5 if path[:4] == "lib/" else 2]:
            try:
                if other != path and (os.stat(root + other)[0] & 0x4000 or "." in other):  # a folder, or a module
                    return "hidden by " + other
            except OSError:
                pass
    return ""


class Transfer:
    """One offer, from its message to the status that ends it."""

    def __init__(self, ota, message):
        self.ota = ota
        self.message = message
        self.root = ota.root
        self.state = ota.state
        self._chunk = ota._chunk or memoryview(bytearray(_CHUNK))
        self._peer = None  # host, port and id of the offer
        self._sock = None
        self._next = self._last = -1  # the item that comes next, if any does; the last that was asked for with it
        self._left = 0  # bytes until the end of what _read gives
        self._since = self._mark = 0  # when a minute began, and with how many bytes
        self._done = self._total = 0  # bytes, for the progress

    def steps(self):
        """Does what the offer asks, in steps; returns the status that ends it. Raises MemoryError."""
        try:
            return (yield from self._steps())
        except Failed as failed:
            detail = failed.args[0]
        except OSError as error:
            cause = error.args[:1]
            detail = "%s %s" % ("no-space" if cause == (_NO_SPACE,) else "write", error)
            if cause == (_READ_ONLY,):
                detail = "write the file system is read-only"
            if _boot and not _boot.sets:  # which were announced
                self.ota._asked = True
        except (ValueError, AttributeError):  # not UTF-8, or a hash that this board has not
            detail = "bad-offer"
        finally:
            self.close()
            remove(self.state("new"))
        return answer(self.message, "failed", detail)

    def _steps(self):
        ota = self.ota
        fields = str(self.message, "utf-8").split("|")
        options = dict([field.split("=", 1) for field in fields[5:] if "=" in field])
        host, port, file, digest, reboot = parse(fields[:5])
        size = id = None
        if len(fields) > 5:
            size = number(options.get("size", ""))
            id = options.get("id", "")
            if len(id) != 16 or id.strip(_HOST[:16]):
                raise Failed("bad-offer id")
        fields = None
        self._peer = host, port, id
        rollback, is_set, dry = [("0", "1").index(options.get(key, "0")) for key in ("rollback", "set", "dry")]
        if _boot and self.root != _boot.root + "/":
            raise Failed("write boot() was called with another folder")
        if rollback or is_set:
            if not _boot:
                raise Failed("bad-offer fields")
            if file != "set":
                raise Failed("bad-offer file")
            if rollback:
                yield from _boot.phase("mqtt_ota_set", "roll_back", str(hexlify(digest), "utf-8"))
                ota._installed = True
                state, detail = "rolled-back", ""
            else:
                work = _boot.phase("mqtt_ota_set", "steps", self, digest, size, dry, options)
                options = None
                state, detail = yield from work
            reboot = reboot and not dry
        else:
            options = None
            state, detail = "installed", "unchanged"
            if not (yield from self.has(self.root + file, digest)):
                if size and size > ota.limit:
                    raise Failed("no-space over %d bytes" % ota.limit)
                if _boot and _boot.there("trial"):
                    raise Failed("busy a set is on trial")
                self.may(file)
                yield self.receiving()
                gc.collect()  # so that the buffers of what comes find whole blocks
                detail = yield from self._single(file, digest, size)
                ota._installed = True
        if detail == "unchanged" and _boot and _boot.options.get("safe"):
            # What the application died of may have been something else: whoever sends it again wants it to run.
            yield from _boot.phase("mqtt_ota_journal", "mended")
            ota._installed = True
        # A file that was there already asks for no reboot, but for one that an earlier file waits for.
        if ota._installed and reboot:
            ota._reboot = True
        return answer(self.message, state, detail)

    def receiving(self):
        """The status that says that the offer is taken."""
        status = answer(self.message, "receiving", "")
        return status if status[-1] != "|" else status + (self._peer[2] or "")

    def may(self, file):
        """Asks the application whether this is the time to fetch a file. Raises Failed, or MemoryError to do it at boot."""
        after = self.ota.allow(file)
        if after is not None and after is not True:
            raise Failed("postponed after=%d" % after if after else "postponed")
        if _boot and _boot.options.get("at_boot"):
            raise MemoryError

    def _single(self, file, digest, size):
        # Fetches a file and puts it in place; returns the detail of the status.
        end = 0
        while end < len(file):  # before anything is fetched
            end = (file + "/").find("/", end + 1)
            try:
                is_folder = os.stat(self.root + file[:end])[0] & 0x4000
            except OSError:
                break
            if (not is_folder) == (end < len(file)):
                raise Failed("bad-name %s is %sa folder" % (file[:end], "" if is_folder else "not "))
        if size is None:
            part = self.state("new")
            self._begins()
            yield from self.ask()
            folder(self.root + _STATE)
            self.ota._file = None
            hasher = new_hash(digest)
            self._left = 1 << 29
            with open(part, "wb") as temporary:
                size = yield from self._pump(self._read, hasher, temporary.write)
            if hasher.digest() != digest:
                raise Failed("hash-mismatch %d bytes" % size)
        else:
            part = self.state("part")
            self._total = size
            folder(self.root + _STATE)
            yield from self.part(digest, size)
        end = file.find("/")
        while end > 0:
            folder(self.root + file[:end])
            end = file.find("/", end + 1)
        if hasattr(os, "sync"):
            os.sync()
        if _boot and _boot.there("crashes"):
            yield from _boot.phase("mqtt_ota_journal", "mended")
        if _boot:  # from here on, what is installed is no longer a set
            if _boot.there("drop"):
                yield from _boot.phase("mqtt_ota_journal", "forget", "last")
            for old, new in ("last", "drop"), ("set", "was"):
                _boot.quietly(os.rename, self.state(old), self.state(new))
        detail = hidden(self.root, file)
        if size:
            os.rename(part, self.root + file)
        else:
            # LittleFS 1 tells a file by where its bytes are: a rename that is cut can lose one that has none.
            open(self.root + file, "wb").close()
            remove(part)
        remove(self.state("part.of"))
        return detail

    def has(self, path, digest):
        """Whether a file has this digest; in steps."""
        hasher = new_hash(digest)
        try:
            with open(path, "rb") as file:
                yield from self._pump(file.readinto, hasher, None)
        except (OSError, Failed):
            return False  # not there, or not readable: it will be replaced
        return hasher.digest() == digest

    def room(self, need):
        """Raises Failed where so many blocks are not free."""
        disk = os.statvfs(self.root)
        # LittleFS counts what two files share twice: on a full one less than nothing is free, without a sign.
        free = disk[4] if disk[4] <= disk[2] else 0
        if need + _SPARE > free:
            raise Failed("no-space %d bytes needed, %d free" % ((need + _SPARE) * disk[1], free * disk[1]))

    def part(self, digest, size, last=0):
        """Fetches item 0 of an extended offer into the file `part`, of which there may be something already; in steps."""
        part = self.state("part")
        known = b""
        try:
            with open(part + ".of", "rb") as file:
                known = file.read(33)
        except OSError:
            pass
        if known != digest or size_of(part) > size:
            remove(part)
        block = os.statvfs(self.root)[1]
        self.room(blocks(size, block) - blocks(size_of(part), block))
        if known != digest:
            with open(part + ".of", "wb") as file:
                file.write(digest)
        yield from self.fetch(0, last, part, digest, size)

    def fetch(self, item, last, path, digest, size):
        """Fetches what is missing of an item, whose first bytes may be in the file; in steps.

        Those up to the last item will be next; all, if that is "".
        """
        hasher = new_hash(digest)
        offset = 0
        if size_of(path) > 0:
            with open(path, "rb") as file:
                offset = yield from self._pump(file.readinto, hasher, None)
        elif not size:
            open(path, "wb").close()
        attempts = 0
        self._begins()
        while offset < size:
            start = offset
            try:
                if self._next != item:
                    if self._next >= 0:  # something else is on its way
                        self.close()
                    yield from self.ask("%d-%s %d" % (item, last, offset))
                    self._next, self._last = item, _FLUSH if last == "" else last
                with open(path, "ab") as file:
                    while offset < size:
                        self._left = part = min(size - offset, _FLUSH)
                        try:
                            yield from self._pump(self._read, hasher, file.write)
                        finally:
                            offset += part - self._left
                        file.flush()
            except Failed:
                self.close()
                attempts = 0 if offset - start > _CHUNK else attempts + 1
                if attempts >= _ATTEMPTS or self.ota._newer or self._mark < 0:
                    raise
                self.ota._wait = sleep_ms
                since = ticks_ms()
                while ticks_diff(ticks_ms(), since) < _PAUSE and not self.ota._newer:
                    yield WAIT
        if self._next == item:
            self._next = item + 1 if item < self._last else -1
        if hasher.digest() != digest:
            os.remove(path)
            raise Failed("hash-mismatch of item %d" % item)

    def _begins(self):
        # What is read from here on has to come at a least rate.
        self._since = ticks_ms()
        self._mark = self._done

    def close(self):
        """Closes the connection to the sender, if there is one."""
        self._next = -1
        if self._sock:
            self._sock.close()
            self._sock = None

    def ask(self, request=None):
        """Connects, if that is not done, and sends a request, which a plain offer does without; in steps."""
        host, port, id = self._peer
        line = ("%s %s\n" % (id, request)).encode() if request else b""
        sock = self._sock
        since = ticks_ms()
        try:
            if not sock:
                info = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
                sock = self._sock = socket.socket(info[0], socket.SOCK_STREAM)
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
            raise Failed("connect %s:%d %s" % (host, port, error))

    def _read(self, chunk):
        # As of a stream that ends after `_left` bytes.
        self.ota.progress(self._done, self._total)
        if ticks_diff(ticks_ms(), self._since) > _MINUTE:
            if (self._done - self._mark) * 1000 < self.ota.rate * _MINUTE:
                count, self._mark = self._done - self._mark, -1  # which no connection mends
                raise Failed("timeout %d bytes in a minute" % count)
            self._since = ticks_ms()
            self._mark = self._done
        if self._left < _CHUNK:
            if not self._left:
                return 0
            chunk = chunk[: self._left]
        sock = self._sock
        count = sock.readinto(chunk) if hasattr(sock, "readinto") else sock.recv_into(chunk)
        if count:
            self._left -= count
            self._done += count
        elif count == 0 and self._peer[2]:
            raise OSError("the sender closed")
        return count

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
                if hasher:
                    hasher.update(part)
                if write:
                    write(part)
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
