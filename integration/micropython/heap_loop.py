"""What the loop of a transfer allocates, while whoever feeds it keeps in step.

    micropython -m heap_loop OFFER

Whenever the socket has no more to read, it prints `more`, and goes on when a byte comes by standard
input. In the end it prints how many chunks it read, what was allocated since the first of them was done,
what the heap in use grew by meanwhile (the collector is off), and the status.
"""

import gc
import sys
from micropython import mem_total

import mqtt_ota

_go = bytearray(1)


def publish(topic, message, retain):
    if not message.startswith(b"receiving|"):
        # This status is a step too, and allocates; the one before it was still the loop's.
        chunks = ota.count - ota.waits - 2
        print("chunks=%d allocated=%d grown=%d" % (chunks, ota.total - ota.total0, ota.used - ota.used0))
        print(message)


class Ota(mqtt_ota.Ota):
    # What is called during the loop allocates nothing: all attributes are there already.

    def __init__(self, *args):
        super().__init__(*args)
        self.count = self.waits = self.total = self.used = self.total0 = self.used0 = 0
        self.now_total = self.now_used = 0
        self.wait = None
        self.look = self.more

    def alive(self):
        self.count += 1
        self.total = self.now_total
        self.used = self.now_used
        self.now_total = mem_total()
        self.now_used = gc.mem_alloc()
        if self.count == 3:  # after `receiving`, and a wait for the first chunk
            self.total0 = self.now_total
            self.used0 = self.now_used
        if self._wait is not self.look:
            self.wait = self._wait
            self._wait = self.look

    def more(self, ms):
        self.waits += 1
        print("more")
        sys.stdin.buffer.readinto(_go)
        gc.disable()
        self.wait(ms)


ota = Ota("X", publish, ".", publish)
ota.message(b"X/OTA", sys.argv.pop().encode())
ota.poll()
