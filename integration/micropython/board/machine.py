"""Stands in for a board's own module, where the unix port has no such hardware: says what it is told."""

import _thread
import os
import sys
import time

import bench

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5


def reset_cause():
    causes = {"power": PWRON_RESET, "watchdog": WDT_RESET, "sleep": DEEPSLEEP_RESET}
    return causes.get(os.getenv("BOARD_CAUSE"), HARD_RESET)


def reset():
    print("reset")
    # No finaliser and no buffer comes between: like a reset, and like a power cut.
    os.system("kill -9 $PPID")


def deepsleep(ms):
    print("sleeps", ms)
    reset()


def unique_id():
    return b"\x01\x02\x03\x04"


class Timer:
    ONE_SHOT, PERIODIC = 0, 1
    armed = False

    def __init__(self, number):
        self.on = False

    def init(self, mode, period, callback):
        Timer.armed = self.on = True
        _thread.start_new_thread(self._fire, (mode, period, callback))

    def _fire(self, mode, period, callback):
        while True:
            time.sleep_ms(period)
            if self.on:
                callback(self)
            if not self.on or mode == self.ONE_SHOT:
                return

    def deinit(self):
        self.on = False


class WDT:
    def __init__(self, id=0, timeout=5000):
        self.timeout = timeout
        self.feed()
        _thread.start_new_thread(self._wait, ())

    def feed(self):
        self.fed = time.ticks_ms()

    def _wait(self):
        while time.ticks_diff(time.ticks_ms(), self.fed) < self.timeout:
            time.sleep_ms(20)
        print("watchdog")
        reset()


class Pin:
    IN, OUT, PULL_UP, IRQ_FALLING, IRQ_RISING = 0, 1, 2, 4, 8

    def __init__(self, number, *_, value=1):
        self.number, self.level, self.trigger = number, value, 0
        bench.on("pin %d" % number, self._move)

    def __call__(self, level=None):
        if level is None:
            return self.level
        self.level = int(level)
        print("pin", self.number, self.level)

    value = __call__

    def on(self):
        self(1)

    def off(self):
        self(0)

    def irq(self, handler, trigger=IRQ_FALLING | IRQ_RISING):
        self.handler, self.trigger = handler, trigger

    def _move(self, level):
        self.level = level
        if self.trigger & (self.IRQ_RISING if level else self.IRQ_FALLING):
            self.handler(self)
