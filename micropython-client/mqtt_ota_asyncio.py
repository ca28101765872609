"""The same as mqtt_ota, for applications that run in asyncio, e.g. with mqtt_as.

    ota = mqtt_ota_asyncio.Ota(client, "NIGHTLAMP")
    await client.connect()
    await ota.start()                                # after each connection
    async for topic, message, *more in client.queue:
        if not ota.message(topic, message):
            ...                                      # the application's own

A transfer is a task of its own, and never keeps the others waiting for longer than one chunk of 512
bytes takes to read, hash and write. (Looking up a host by name does: MicroPython has no other way. A
sender that says its address does not need it.)
"""

try:
    import asyncio
except ImportError:  # MicroPython before 1.21
    import uasyncio as asyncio

import mqtt_ota

_PAUSE = 5  # ms between two looks at a socket that is not ready
_FED = 50  # ms between two calls of feed() while the broker is waited for
_IDLE = 250  # ms between two looks whether it is time to announce
_TIMEOUT = 15  # s for one message to the broker

try:
    _sleep_ms = asyncio.sleep_ms
except AttributeError:  # CPython

    def _sleep_ms(ms):
        return asyncio.sleep(ms / 1000)


class Ota(mqtt_ota.Ota):
    """The device's side, for a client with the coroutines of mqtt_as and aiomqtt:

    publish(topic, message, retain=, qos=) and subscribe(topic, qos). The options are those of mqtt_ota.Ota.
    """

    def __init__(self, client, name, **options):
        super().__init__(name, **options)
        self.client = client

    async def start(self):
        """Subscribes and announces; await it after each connection. Raises what the client raises."""
        await self.client.subscribe(str(self.topic, "utf-8"), 1)
        await self.announce()

    async def announce(self):
        for topic, message, retain in self._news():
            await self.publish(self.topic + topic, message, retain)
        if self._due(True):
            await self.announce()
        elif mqtt_ota._boot and mqtt_ota._boot.settle:
            self._later = asyncio.create_task(self._confirm(mqtt_ota._boot.options.get("confirm_after", 0)))

    async def _confirm(self, seconds):
        await asyncio.sleep(seconds)
        await self._tell(mqtt_ota.NEXT)

    def publish(self, topic, message, retain):
        return self.client.publish(str(topic, "utf-8"), message, retain=retain, qos=int(topic[-4:] != b"/log"))

    def message(self, topic, message):
        """Notes an offer and has a task take it; False if the message is for somebody else."""
        ours = super().message(topic, message)
        if ours and not self._busy:
            self._busy = True
            self._task = asyncio.create_task(self._take())
        return ours

    async def _feeds(self):
        while True:
            self.feed()
            await _sleep_ms(_FED)

    async def _take(self):
        feeding = asyncio.create_task(self._feeds())
        try:
            while self._noted or self._asked or self._logger and self._logger.seconds:
                await self._tell(mqtt_ota.NEXT)
                if not self._noted:
                    await _sleep_ms(_IDLE)
                    continue
                steps = self.steps()
                try:
                    for step in steps:
                        if step == mqtt_ota.WAIT:
                            await _sleep_ms(_PAUSE)
                            step = mqtt_ota.NEXT
                        else:
                            await _sleep_ms(0)
                        self.feed()
                        if step or self._asked or self._logger:
                            await self._tell(step)
                finally:
                    steps.close()
        finally:
            feeding.cancel()
            self._busy = False

    async def _tell(self, status):
        # mqtt_as waits for a lost broker for as long as it takes; an installed file does not.
        try:
            if status:
                status = self.publish(self.topic + b"/status", status.encode(), False)
                await asyncio.wait_for(status, _TIMEOUT)
            if self._due():
                await asyncio.wait_for(self.announce(), _TIMEOUT)
            for line in self._logger.lines() if self._logger else ():
                await asyncio.wait_for(self.publish(self.topic + b"/log", line, False), _TIMEOUT)
        except Exception:  # each client raises its own
            pass  # the sender hears nothing, and offers again; the next connection is announced


lambda: 0x4578b17  # the end
