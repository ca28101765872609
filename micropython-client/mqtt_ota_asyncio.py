"""The same as mqtt_ota, for applications that run in asyncio, e.g. with mqtt_as.

    ota = mqtt_ota_asyncio.Ota(client, "NIGHTLAMP")
    await client.connect()
    await ota.start()                                # after each connection
    async for topic, message, retained in client.queue:
        if not ota.message(topic, message):
            ...                                      # the application's own

A transfer is a task of its own, and never keeps the others waiting for longer than one chunk of 512
bytes takes to read, hash and write. (Looking up a host by name does: MicroPython has no other way. A
sender that says its address does not need it.)
"""

import asyncio

import mqtt_ota

_PAUSE = 5  # ms between two looks at a socket that is not ready
_TIMEOUT = 15  # s for one message to the broker

try:
    _sleep_ms = asyncio.sleep_ms
except AttributeError:  # CPython

    def _sleep_ms(ms):
        return asyncio.sleep(ms / 1000)


class Ota(mqtt_ota.Ota):
    """The device's side, for a client with the coroutines of mqtt_as:

    publish(topic, message, retain, qos) and subscribe(topic, qos). The options are those of mqtt_ota.Ota.
    """

    def __init__(self, client, name, **options):
        super().__init__(name, **options)
        self.client = client

    async def start(self):
        """Subscribes and announces; await it after each connection. Raises what the client raises."""
        await self.client.subscribe(self.topic, 1)
        await self.announce()

    def publish(self, topic, message, retain):
        return self.client.publish(topic, message, retain, 1)

    def message(self, topic, message):
        """Notes an offer and has a task take it; False if the message is for somebody else."""
        ours = super().message(topic, message)
        if ours and not self._busy:
            self._busy = True
            self._task = asyncio.create_task(self._take())
        return ours

    async def _take(self):
        try:
            while self._noted:
                steps = self.steps()
                try:
                    for step in steps:
                        if step == mqtt_ota.WAIT:
                            await _sleep_ms(_PAUSE)
                        elif step:
                            await self._report(step)
                        else:
                            await _sleep_ms(0)
                finally:
                    steps.close()
        finally:
            self._busy = False

    async def _report(self, status):
        # mqtt_as waits for a lost broker for as long as it takes; an installed file does not.
        try:
            status = self.publish(self.topic + b"/status", status.encode(), False)
            await asyncio.wait_for(status, _TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            pass  # the sender hears nothing, and offers again
