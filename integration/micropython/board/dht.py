"""Stands in for the sensor: it always measures the same, and does not answer after `dht 0`."""

import bench


class DHT22:
    def __init__(self, _):
        self.answers = True
        bench.on("dht", self._switch)

    def measure(self):
        if not self.answers:
            raise OSError(110)

    def temperature(self):
        return 21.5

    def humidity(self):
        return 40.0

    def _switch(self, answers):
        self.answers = bool(answers)
