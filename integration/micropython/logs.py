# What mqtt_ota_log takes and publishes: micropython logs.py ROOT. Ends with "all right".
import sys

import mqtt_ota
import mqtt_ota_log


class Os:
    """A board's os.dupterm, whose slot may be taken."""

    terminal = None

    def dupterm(self, terminal):
        old, self.terminal = self.terminal, terminal
        return old


def says(*words):
    """The application prints, which a terminal sees in pieces."""
    if board.terminal:
        for word in words:
            board.terminal.write(word.encode())


def lines():
    ota.poll()
    found = [str(message, "utf-8") for topic, message, _ in said if topic == b"X/OTA/log"]
    said.clear()
    return found


board = mqtt_ota_log.os = Os()
said = []
ota = mqtt_ota.Ota("X", lambda *message: said.append(message), sys.argv[1], print)
log = mqtt_ota_log.start(ota)
ota.announce()
assert b"log=1" in said[-1][1].split(b"|"), said

# Nobody has asked: nothing is kept, and the terminal is not taken.
log("unheard")
assert board.terminal is None and lines() == []

assert ota.message(b"X/OTA", b"log|60|and more")
says("hel", "lo\r\n", "wor")
log("a", 2)
assert lines() == ["hello", "wora 2"], said
says("x" * 600, "\n")
assert [len(line) for line in lines()] == [256, 256, 88]
for number in range(30):
    log(number)
assert lines() == [str(number) for number in range(16)] + ["... 14 lines lost"]
ota.message(b"X/OTA", b"log|0")
log("unheard")
assert board.terminal is None and lines() == []

# It ends by itself, and a request that cannot be read asks for nothing.
ota.message(b"X/OTA", b"log|1")
now = mqtt_ota_log.ticks_ms()
mqtt_ota_log.ticks_ms = lambda: now + 1100
assert lines() == [] and board.terminal is None
for request in b"log|", b"log|x", b"log|-5", b"log", b"log|x|60":
    assert ota.message(b"X/OTA", request) and board.terminal is None

# Another terminal keeps its slot.
board.terminal = other = object()
ota.message(b"X/OTA", b"log|60")
assert board.terminal is other
log("still told")
assert lines() == ["mqtt_ota_log: print is not taken, as another terminal has it", "still told"]
print("all right")
