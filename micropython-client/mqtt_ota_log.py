"""Publishes what the board prints and logs, while somebody asks for it: `mqtt-ota log NAME`.

    log = mqtt_ota_log.start(ota)  # once, after attach()
    log("the door is open")        # where print cannot be taken, and besides

It takes `print` by os.dupterm where that slot is free, and only while somebody asks.
"""

import io
import os

from mqtt_ota import const, ticks_diff, ticks_ms

_LINE = const(256)  # bytes at most
_LINES = const(16)  # that wait at most
_LONGEST = const(600)  # seconds for which one request holds


def start(ota):
    """Has the client say that it can be asked for its log. Returns what logs a line."""
    ota._logger = _Log(ota)
    return ota._logger


class _Log(io.IOBase):
    def __init__(self, ota):
        self.ota = ota
        self.seconds = 0  # for which it was asked
        self.since = 0
        self.waiting = []  # lines
        self.part = b""  # the beginning of the next one
        self.lost = 0
        self.taken = False  # what is printed comes here

    def __call__(self, *words):
        """Logs a line, as print would print it."""
        if self.seconds:
            self.write((" ".join([str(word) for word in words]) + "\n").encode())

    def asked(self, seconds):
        # What a request says behind its bar.
        if not seconds.isdigit():
            return
        self.seconds = min(int(seconds), _LONGEST)
        self.since = ticks_ms()
        if self.seconds and not self.taken:
            self._take()
        elif not self.seconds:
            self._leave()

    def _take(self):
        if hasattr(os, "dupterm"):
            other = os.dupterm(self)
            if other:
                os.dupterm(other)
                self("mqtt_ota_log: print is not taken, as another terminal has it")
            else:
                self.taken = True

    def _leave(self):
        if self.taken:
            os.dupterm(None)
        self.taken = False
        self.waiting = []
        self.part = b""
        self.lost = 0

    def write(self, data):
        # Called in the middle of anything: it only notes.
        self.part += bytes(data)
        while b"\n" in self.part or len(self.part) >= _LINE:
            end = self.part[:_LINE].find(b"\n")
            cut = end if end >= 0 else _LINE
            line, self.part = self.part[:cut].rstrip(b"\r"), self.part[cut + (end >= 0) :]
            if len(self.waiting) < _LINES:
                self.waiting.append(line)
            else:
                self.lost += 1
        return len(data)

    def readinto(self, _):
        return None  # nobody types here

    def ioctl(self, *_):
        return 0

    def lines(self):
        """The lines to publish that there are by now: publishing may itself make further ones."""
        if self.seconds and ticks_diff(ticks_ms(), self.since) > self.seconds * 1000:
            self.seconds = 0
            self._leave()
        lines, self.waiting = self.waiting, []
        if self.lost:
            lines.append(b"... %d lines lost" % self.lost)
            self.lost = 0
        return lines


lambda: 0x4578b17  # the end
