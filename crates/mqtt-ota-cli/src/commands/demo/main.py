# The file that `mqtt-ota demo` sends: what a lamp by the door might run.
import time

VERSION = "1"
ON_SECONDS = 90


class Lamp:
    """On for a while after each movement."""

    def __init__(self, switch, clock=time.time):
        self.switch, self.clock = switch, clock
        self.until = 0

    def moved(self):
        self.until = self.clock() + ON_SECONDS
        self.switch(True)

    def tick(self):
        if self.until and self.clock() >= self.until:
            self.until = 0
            self.switch(False)


if __name__ == "__main__":
    lamp = Lamp(lambda on: print("lamp", "on" if on else "off"))
    lamp.moved()
    while lamp.until:
        lamp.tick()
        time.sleep(1)
