"""Offers of more than one plain stream: a set of files, all or nothing, or one file that resumes.

mqtt_ota loads this when the first such offer comes, on a board whose boot.py called mqtt_ota_boot.boot().
What lies in the client's folder is told there.
"""

import gc
import hashlib
import os
import select
import socket
import sys
from errno import EAGAIN, EINPROGRESS

import mqtt_ota
import mqtt_ota_boot as boot
from mqtt_ota import NEXT, WAIT, Failed, const, ticks_diff, ticks_ms

try:
    from time import sleep_ms
except ImportError:  # CPython
    from time import sleep

    sleep_ms = lambda ms: sleep(ms / 1000)

_ATTEMPTS = const(4)  # connections in a row that bring next to nothing
_LITTLE = const(512)  # bytes that are
_PAUSE = const(1000)  # ms before each further one
_TIMEOUT = const(10000)  # ms for a connection, and for a request
_FLUSH = const(8192)  # bytes of a file that a power cut may cost
_MANIFEST = const(131072)  # bytes at most
_FILES = const(1000)  # at most
_LINE = const(224)  # bytes of a manifest's line, with its end: a hash, a length and a path
_SPARE = const(8)  # blocks that must stay free: the journal's, the trial's, and what the file system moves
_FOLDER = const(0x4000)  # in the mode of a file
_BOOT = ("mqtt_ota_boot.py", "mqtt_ota_boot.mpy")
_NO_SPACE = const(28)
_SMALL = const(65536)  # bytes of a free heap

_hidden = getattr(mqtt_ota, "hidden", lambda root, path: "")  # an older one beside this has none

_small = hasattr(gc, "mem_free") and gc.mem_free() < _SMALL


def steps(ota, fields, what):
    """What Ota.steps does with an extended offer: returns the status, its detail, and whether to reboot."""
    if ota.root != boot.root + "/":
        raise Failed("write boot() was called with another folder")
    host, port, name, digest, reboot = mqtt_ota.parse(fields[:5])
    options = dict([field.split("=", 1) for field in fields[5:] if "=" in field])
    size = _number(options.get("size", ""))
    id = options.get("id", "")
    if len(id) != 16 or id.strip(mqtt_ota._HOST[:16]):
        raise Failed("bad-offer id")
    rollback, is_set, dry = [("0", "1").index(options.get(key, "0")) for key in ("rollback", "set", "dry")]
    if (rollback or is_set) and name != "set":
        raise Failed("bad-offer file")
    if rollback:
        _roll_back(fields[3])
        ota._installed = True
        return "rolled-back|", "", reboot
    if boot.there("trial"):
        if is_set and boot.head("trial")[0] == fields[3]:
            return "installed|", "unchanged", reboot
        raise Failed("busy a set is on trial")
    _hasher(digest)
    mqtt_ota.folder(ota.root + mqtt_ota._STATE)
    link = _Link(ota, host, port, id)
    if is_set:
        work = _Set(ota, link, digest, options, dry).steps(fields[3], size, what)
    else:
        work = _file(ota, link, name, digest, size, what)
    detail = yield from work
    if not (dry or detail == "unchanged"):
        ota._installed = True
    return "planned|" if dry else "installed|", detail, reboot and not dry


def _tidy():
    # In a small heap, what the files before have left would else come to lie between what is kept. A large
    # one takes too long for that.
    if _small:
        gc.collect()


def _number(text, most=1 << 50):
    if not text or len(text) > 15 or text.strip(mqtt_ota._HOST[:10]) or int(text) > most:
        raise ValueError
    return int(text)


def _hasher(digest):
    function = getattr(hashlib, "sha1" if len(digest) == 20 else "sha256", None)
    if not function:
        raise Failed("bad-offer hash")
    return function()


class _NoHash:
    @staticmethod
    def update(_):
        pass


def _mode(path):
    try:
        return os.stat(path)[0]
    except OSError:
        return 0


def _size(path):
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def _roll_back(digest):
    for name in ("trial", "last"):
        if boot.head(name)[0] == digest:
            boot.note("on request")
            os.rename(boot.state(name), boot.state("undo"))
            boot.undo()
            return
    raise Failed("gone what was there before this set is not kept")


class _Link:
    """The connection to the sender, made anew where it breaks."""

    def __init__(self, ota, host, port, id):
        self.ota, self.host, self.port, self.id = ota, host, port, id
        self.next = -1  # the item that comes next, if any does
        self.last = -1  # the last that was asked for with it
        self.left = 0  # bytes until the end of what `read` gives

    def close(self):
        self.next = -1
        if self.ota._sock:
            self.ota._sock.close()
            self.ota._sock = None

    def read(self, buffer):
        # As of a stream that ends after `left` bytes.
        if self.left < len(buffer):
            buffer = buffer[: self.left]
            if not self.left:
                return 0
        sock = self.ota._sock
        count = sock.readinto(buffer) if hasattr(sock, "readinto") else sock.recv_into(buffer)
        if count:
            self.left -= count
        elif count == 0:
            raise OSError("the sender closed")
        return count

    def ask(self, request):
        """Sends a request, on a new connection if there is none."""
        ota = self.ota
        line = ("%s %s\n" % (self.id, request)).encode()
        since = ticks_ms()
        try:
            if not ota._sock:
                info = socket.getaddrinfo(self.host, self.port, 0, socket.SOCK_STREAM)[0]
                sock = ota._sock = socket.socket(info[0], socket.SOCK_STREAM)
                sock.setblocking(False)
                try:
                    sock.connect(info[-1])
                except OSError as error:
                    if error.args[0] != EINPROGRESS:
                        raise
                poller = select.poll()
                # lwIP calls a socket writable before it is connected, but also takes what is written then.
                poller.register(sock, select.POLLOUT)
                ota._wait = getattr(poller, "ipoll", poller.poll)
                while not poller.poll(0):
                    if ota._newer:
                        raise OSError("a newer offer")
                    if ticks_diff(ticks_ms(), since) > _TIMEOUT:
                        raise OSError("timeout")
                    yield WAIT
                poller.modify(sock, select.POLLIN)
            while line:
                try:
                    line = line[ota._sock.send(line) :]
                except OSError as error:
                    if error.args[0] != EAGAIN or ticks_diff(ticks_ms(), since) > _TIMEOUT:
                        raise
                    yield WAIT
        except (OSError, ValueError) as error:
            raise Failed("connect %s:%d %s" % (self.host, self.port, error))

    def fetch(self, item, last, path, offset, size, hasher):
        """Appends an item's bytes from an offset on to a file. Those up to the last item will be next; all, if there
        is none."""
        attempts = 0
        while offset < size:
            start = offset
            try:
                if self.next != item:
                    if self.next >= 0:  # something else is on its way
                        self.close()
                    yield from self.ask("%d-%s %d" % (item, last, offset))
                    self.next, self.last = item, _FILES if last == "" else last
                with open(path, "ab") as file:
                    while offset < size:
                        self.left = part = min(size - offset, _FLUSH)
                        try:
                            yield from self.ota._pump(self.read, hasher, file.write)
                        finally:
                            offset += part - self.left
                        file.flush()
            except Failed:
                self.close()
                attempts = 0 if offset - start > _LITTLE else attempts + 1
                if attempts >= _ATTEMPTS or self.ota._newer:
                    raise
                self.ota._wait = sleep_ms
                since = ticks_ms()
                while ticks_diff(ticks_ms(), since) < _PAUSE and not self.ota._newer:
                    yield WAIT
        if self.next == item:
            self.next = item + 1 if item < self.last else -1


def _append(ota, link, item, last, path, digest, size):
    # Fetches what is missing of an item whose first bytes may be there.
    _tidy()
    hasher = _hasher(digest)
    offset = 0
    if _size(path) > 0:
        with open(path, "rb") as file:
            offset = yield from ota._pump(file.readinto, hasher, None)
    elif not size:
        open(path, "wb").close()
    yield from link.fetch(item, last, path, offset, size, hasher)
    if hasher.digest() != digest:
        os.remove(path)
        raise Failed("hash-mismatch of item %d" % item)


def _room(ota, need, gain=0):
    disk = os.statvfs(ota.root)
    # LittleFS counts what two files share twice: on a full one less than nothing is free, without a sign.
    free = gain + (disk[4] if disk[4] <= disk[2] else 0)
    if need + _SPARE > free:
        raise Failed("no-space %d bytes needed, %d free" % ((need + _SPARE) * disk[1], free * disk[1]))


def _resume(ota, link, digest, size, last=0):
    # Fetches item 0 to `part`, of which there may be something already.
    part, whose = boot.state("part"), boot.state("part.of")
    try:
        with open(whose, "rb") as file:
            known = file.read(33) == digest
    except OSError:
        known = False
    if not known or _size(part) > size:
        boot.quietly(os.remove, part)
    block = os.statvfs(ota.root)[1]
    _room(ota, _blocks(size, block) - _blocks(_size(part), block))
    if not known:
        with open(whose, "wb") as file:
            file.write(digest)
    yield from _append(ota, link, 0, last, part, digest, size)


def _blocks(size, block):
    # That a file takes; each of its blocks has a few bytes that tell the others.
    return 0 if size < 0 else size // (block - 16) + 1


def _clear(ota, path, goes=lambda name: False):
    # Makes sure that a file can get this name: neither is it a folder, nor a file that it would be in, unless that
    # goes. Returns how much of it are folders that are there.
    if _mode(ota.root + path) & _FOLDER and not goes(path + "/"):
        raise Failed("bad-name %s is a folder" % path)
    end = path.rfind("/")
    while end > 0:
        mode = _mode(ota.root + path[:end])
        if mode & _FOLDER:
            return end
        if mode and not goes(path[:end]):
            raise Failed("bad-name %s is not a folder" % path[:end])
        end = path.rfind("/", 0, end)
    return 0


def _file(ota, link, name, digest, size, what):
    if (yield from ota._has(name, _hasher(digest), digest)):
        return "unchanged"
    if size > ota.limit:
        raise Failed("no-space over %d bytes" % ota.limit)
    _clear(ota, name)
    yield "receiving|" + what + "|" + (ota._id or link.id)
    yield from _resume(ota, link, digest, size)
    if hasattr(os, "sync"):
        os.sync()
    detail = _hidden(ota.root, name)
    boot.alter()
    boot.place("part", name)
    boot.quietly(os.remove, boot.state("part.of"))
    return detail


def manifest(name):
    """The digest, length and path of each line of a manifest in the client's folder, as texts."""
    with open(boot.state(name), "rb") as file:
        while True:
            _tidy()
            line = file.readline(_LINE)
            if not line:
                return
            if line[-1:] != b"\n":
                raise ValueError
            digest, size, path = str(line, "utf-8").split(" ", 2)
            yield digest, size, path[:-1]


def _paths(name):
    # Those of a manifest that may be missing or damaged.
    try:
        for _, _, path in manifest(name):
            yield path
    except (OSError, ValueError):
        pass


def _own(path):
    # What a board needs to be updated again, on a file system that may know no case.
    path = path.lower()
    return path == "boot.py" or path.split("/")[-1][:8] == "mqtt_ota" or path.split("/")[0] == mqtt_ota._STATE


def _both(one, other):
    # The paths of two sorted sources, sorted.
    first, second = next(one, None), next(other, None)
    while first or second:
        if not second or first and first <= second:
            if first == second:
                second = next(other, None)
            yield first
            first = next(one, None)
        else:
            yield second
            second = next(other, None)


def _folded(path):
    # The same of names that FAT may take for one. Which letters beyond ASCII it folds depends on the board.
    return bytes([min(byte, 127) for byte in path.lower().encode()])


class _Set:
    def __init__(self, ota, link, digest, options, dry):
        self.ota = ota
        self.link = link
        self.digest = digest
        self.dry = dry
        self.delete = (None, "set", "all").index(options.get("delete"))
        self.trial = _number(options.get("trial", "3"), 999)
        if not self.trial:
            raise ValueError
        self.name = ""  # of the manifest, in the client's folder
        self.count = 0  # lines of it
        self.differ = self.missing = None  # a bit for each line: the device has it not; nor is it staged
        self.need = 0  # blocks
        # Whether the file system knows no case: nothing else is called as the client's folder.
        self.folds = _mode(ota.root + mqtt_ota._STATE.upper()) > 0

    def steps(self, text, size, what):
        yield "receiving|" + what + "|" + (self.ota._id or self.link.id)
        for name in ("0", "set"):
            if (yield from self._is(name, self.digest)):
                yield from self._validate(name)
                break
        else:
            yield from self._get(size)
        if not (yield from self._compare()):
            if self.name == "0" and not self.dry:
                if (yield from self._leave()):
                    os.rename(boot.state("l"), boot.state("left"))
                os.rename(boot.state("0"), boot.state("set"))
                self.ota._asked = True  # what was announced of the set is no longer so
            return "" if self.dry else "unchanged"
        if self.dry:
            return ""
        if self.name == "set":
            # The set is installed, but something else has changed its files.
            self._forget_staged()
            yield from self._copy(mqtt_ota._STATE + "/set", "0")
        try:
            self._reserve()
            yield from self._stage()
            yield from self._keep(text)
        except OSError as error:
            if error.args[:1] == (_NO_SPACE,):
                self._forget_staged()  # there was enough, but for something else that was written
            raise
        if not boot.finish():
            raise Failed("write the files cannot be put in place")
        return self._hidden()

    def _hidden(self):
        # What hides one of the files that are new. The set is in place: nothing may go wrong here, and nobody leave.
        number = 0
        try:
            for path in _paths("set"):
                number += 1
                detail = self._has(self.differ, number) and _hidden(self.ota.root, path)
                if detail:
                    return detail
        except MemoryError:
            pass
        return ""

    def _is(self, name, digest):
        # Whether a file in the client's folder has this digest.
        return self.ota._has(mqtt_ota._STATE + "/" + name, _hasher(digest), digest)

    def _copy(self, path, name):
        _tidy()
        with open(boot.root + "/" + path, "rb") as file, open(boot.state(name), "wb") as copy:
            yield from self.ota._pump(file.readinto, _NoHash, copy.write)

    def _get(self, size):
        if size > _MANIFEST:
            raise Failed("bad-offer manifest of more than %d bytes" % _MANIFEST)
        # A board that never had a set, or has one of one file, is going to ask for nearly all, and saves the round trip.
        # In a small heap, what the manifest needs would lie between what the files need.
        last = "" if not (_small or self.dry or boot.there("was") or boot.there("0")) else 0
        if last == "" and sum(1 for _ in _paths("set")) > 1:
            last = 0
        yield from _resume(self.ota, self.link, self.digest, size, last)
        yield from self._validate("part")
        if not self.dry:
            self._forget_staged()
            os.rename(boot.state("part"), boot.state("0"))
            boot.quietly(os.remove, boot.state("part.of"))
            self.name = "0"

    def _forget_staged(self):
        # What belongs to the manifest before this one. It goes last: until then it says how many there are.
        number = 0
        for _ in _paths("0"):
            number += 1
            boot.quietly(os.remove, boot.state(str(number)))
        boot.quietly(os.remove, boot.state("0"))

    def _validate(self, name):
        # Counts the lines, and refuses what the protocol does.
        try:
            count = 0
            before = ""
            folders = []  # paths that all others up to here begin with: those below one follow it closely
            for digest, size, path in manifest(name):
                digest = mqtt_ota.parse(["h", "1", path, digest])[3]
                if len(digest) != len(self.digest) or path <= before or "|" in path:
                    raise ValueError
                _number(size)
                while folders and not path.startswith(folders[-1]):
                    folders.pop()
                for folder in folders:
                    if path.startswith(folder + "/"):
                        raise ValueError
                folders.append(path)
                before = path
                count += 1
                if count > _FILES:
                    raise ValueError
                yield NEXT
        except (ValueError, Failed):
            boot.quietly(os.remove, boot.state(name))
            raise Failed("bad-offer manifest, line %d" % (count + 1))
        self.name = name
        self.count = count
        self.differ = bytearray(count // 8 + 1)
        self.missing = bytearray(count // 8 + 1)

    def _compare(self):
        # Finds out what differs, and how much space that takes; True if anything does.
        ota = self.ota
        block = os.statvfs(ota.root)[1]
        need = 2 * _blocks(_size(boot.state(self.name)), block)  # the journal, and a copy of the old manifest
        if not self.delete:
            need += 2 * _blocks(max(_size(boot.state("left")), 0) + max(_size(boot.state("set")), 0), block)
        number = 0
        before = ""
        for digest, size, path in manifest(self.name):
            number += 1
            digest = mqtt_ota.unhexlify(digest)
            if (yield from ota._has(path, _hasher(digest), digest)):
                continue
            size = int(size)
            if size > ota.limit:
                raise Failed("no-space over %d bytes" % ota.limit)
            end = path.find("/", _clear(ota, path, self._goes) + 1)
            while end > 0:
                if path[: end + 1] != before[: end + 1]:
                    need += 2  # a new folder
                end = path.find("/", end + 1)
            before = path
            self._set(self.differ, number)
            staged = str(number)
            have = _size(boot.state(staged)) if self.name == "0" else -1
            if have != size or not (yield from self._is(staged, digest)):
                if have >= size:
                    os.remove(boot.state(staged))
                    have = -1
                self._set(self.missing, number)
                if self.dry:
                    yield from self.link.ask(staged)
            need += _blocks(size, block) - _blocks(have, block) + _blocks(_size(ota.root + path), block)
        differs = any(self.differ)
        for path in self._gone():
            if path:
                differs = True
                need += _blocks(_size(ota.root + path), block)
                if self.dry:
                    yield from self.link.ask("- " + path)
            yield NEXT
        self.need = need
        return differs

    def _reserve(self):
        # Makes sure that there is room, and only then gives up that the set before can be taken back.
        ota = self.ota
        for name in ("part", "part.of", "l") + _BOOT:  # of something else
            boot.quietly(os.remove, boot.state(name))
        gain = 0
        if boot.there("last"):
            block = os.statvfs(ota.root)[1]
            for _, number, _, _ in boot.lines("last"):
                gain += max(_blocks(_size(boot.state("k" + number)), block) - 1, 0)  # may be less than a block
        _room(ota, self.need, gain)
        boot.forget("last")

    def _set(self, bits, number):
        bits[number >> 3] |= 1 << (number & 7)

    def _has(self, bits, number):
        return number <= self.count and bits[number >> 3] & 1 << (number & 7)

    def _stage(self):
        number = 0
        for digest, size, path in manifest("0"):
            number += 1
            if self._has(self.missing, number):
                last = number
                if self.link.next != number:
                    while self._has(self.missing, last + 1) and _size(boot.state(str(last + 1))) < 0:
                        last += 1
                staged = boot.state(str(number))
                digest = mqtt_ota.unhexlify(digest)
                yield from _append(self.ota, self.link, number, last, staged, digest, int(size))
            if self._has(self.differ, number):
                name = path.split("/")[-1]
                if path == "boot.py":
                    self._calls_boot(boot.state(str(number)))
                elif name in _BOOT:
                    self._loads(boot.state(str(number)), boot.state(name))
            yield NEXT
        self.link.close()

    def _calls_boot(self, path):
        # Without it no set would be finished, or taken back, from here on.
        with open(path, "rb") as file:
            while True:
                line = file.readline(_LINE)
                if b"mqtt_ota_boot" in line:
                    return
                if not line:
                    raise Failed("bad-offer boot.py does not call mqtt_ota_boot")

    def _loads(self, staged, module):
        # What takes a set back cannot take back itself: it has to be one that this board can load.
        own = sys.modules.pop("mqtt_ota_boot")
        os.rename(staged, module)
        sys.path.insert(0, boot.state("")[:-1])
        try:
            __import__("mqtt_ota_boot").boot
        except MemoryError:
            pass  # it may be one in an emptier heap
        except Exception as problem:
            raise Failed("bad-offer mqtt_ota_boot: %s" % problem)
        finally:
            sys.path.pop(0)
            sys.modules["mqtt_ota_boot"] = own
            os.rename(module, staged)

    def _gone(self):
        # The files that the set wants deleted, and nothing for each other one that was looked at.
        if self.delete == 1:
            paths = self._of_former_set()
        elif self.delete == 2:
            paths = self._of_folders()
        else:
            return
        for path in paths:
            try:
                mqtt_ota.parse(["h", "1", path, "0" * 40])
            except Failed:
                path = None  # a name that no set can have
            yield path if path and not _own(path) and not self._wants(path) else None

    def _goes(self, name):
        # Whether the set deletes a file, or, with a slash at the end, all that is in a folder.
        if not getattr(boot, "trades", False):
            return False  # it could not put it in place
        going = 0
        for path in self._gone():
            if path == name:
                return True
            going += bool(path) and path.startswith(name)
        return name[-1] == "/" and going == sum(1 for _ in self._of_folders(name))

    def _of_former_set(self):
        # What it has brought, and what those before it have left.
        for path in _both(_paths("set" if boot.there("set") else "was"), _paths("left")):
            if _mode(self.ota.root + path) & _FOLDER == 0 <= _size(self.ota.root + path):
                yield path

    def _leave(self):
        # Notes what the sets before have brought and this one does not have; returns how many files that are.
        lines = manifest("0")
        wanted = ""
        count = 0
        with open(boot.state("l"), "wb") as file:
            for path in self._of_former_set():
                while wanted is not None and wanted < path:
                    wanted = next(lines, (None, None, None))[2]
                if wanted != path and count < _FILES:
                    file.write(b"0 0 %s\n" % path.encode())
                    count += 1
                yield NEXT
        if not count:
            os.remove(boot.state("l"))
        return count

    def _of_folders(self, folder=""):
        folders = [folder]
        while folders:
            folder = folders.pop()
            count = 0
            for entry in _list((self.ota.root + folder)[:-1] or "/"):  # FAT takes no slash at the end
                count += 1
                path = folder + entry[0]
                if entry[1] != _FOLDER:
                    yield path
                elif path != mqtt_ota._STATE:
                    folders.append(path + "/")
            if not count:
                yield folder  # no file's name, so it stays

    def _wants(self, path):
        lines = manifest(self.name)
        if self.folds:
            path = _folded(path)
            return any(_folded(wanted) == path for _, _, wanted in lines)
        wanted = ""
        while wanted is not None and wanted < path:
            wanted = next(lines, (None, None, None))[2]
        lines.close()
        return wanted == path

    def _keep(self, text):
        # Writes the journal, keeps the copies that it tells, and commits.
        number = 0
        try:
            with open(boot.state("plan"), "wb") as plan:
                plan.write(b"%s %d\n" % (text.encode(), self.trial))
                self._line(plan, 0, mqtt_ota._STATE + "/set")
                for _, _, path in manifest("0"):
                    number += 1
                    if self._has(self.differ, number):
                        self._line(plan, number, path)
                    yield NEXT
                for path in self._gone():
                    if path:
                        number += 1
                        self._line(plan, number, path, b"-")
                    yield NEXT
                left = mqtt_ota._STATE + "/left"
                if not self.delete and (yield from self._leave()):
                    self._line(plan, "l", left)
                elif boot.there("left"):
                    self._line(plan, "l", left, b"-")
            for kind, number, _, path in boot.lines("plan"):
                if kind != "+":
                    yield from self._copy(path, "k" + number)
            if hasattr(os, "sync"):
                os.sync()
            os.rename(boot.state("plan"), boot.state("commit"))
        finally:
            boot.forget("plan")

    def _line(self, plan, number, path, kind=b"="):
        depth = _clear(self.ota, path, self._goes)
        mode = _mode(self.ota.root + path)
        if not mode or mode & _FOLDER:
            kind = b"+"
        plan.write(b"%s %s %d %s\n" % (kind, str(number).encode(), depth, path.encode()))


def _list(folder):
    # The name and the kind of each entry.
    if hasattr(os, "ilistdir"):
        return os.ilistdir(folder)
    return [(entry.name, _FOLDER if entry.is_dir() else 0x8000) for entry in os.scandir(folder)]
