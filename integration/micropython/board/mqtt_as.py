"""Stands in for the client mqtt_as, which is in no package registry: what its users call, as it calls it.

It connects again by itself; what is published or subscribed meanwhile waits for that.
"""

try:
    import asyncio
except ImportError:  # MicroPython before 1.21
    import uasyncio as asyncio

try:
    import network
except ImportError:  # on a computer
    network = None

RETRY = 1  # s between two attempts to connect

config = {"client_id": None, "server": None, "port": 0, "user": "", "password": "", "ssid": None, "wifi_pw": None}


class Queue:
    def __init__(self):
        self.messages = []
        self.more = asyncio.Event()

    def put(self, *message):
        self.messages.append(message)
        self.more.set()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self.messages:
            self.more.clear()
            await self.more.wait()
        return self.messages.pop(0)


def text(text):
    data = text if isinstance(text, bytes) else text.encode()
    return bytes([len(data) >> 8, len(data) & 255]) + data


class MQTTClient:
    def __init__(self, config):
        self.config = config
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.queue = Queue()
        self.connected = asyncio.Event()
        self.acknowledged = {}
        self.pid = 0
        self.lock = asyncio.Lock()

    async def connect(self):
        if network:
            network.WLAN(network.STA_IF).connect(self.config["ssid"], self.config["wifi_pw"])
        await self._connect()
        asyncio.create_task(self._run())

    async def subscribe(self, topic, qos=0):
        await self._request(0x82, b"", text(topic) + bytes([qos]))

    async def publish(self, topic, message, retain=False, qos=0):
        assert qos == 1
        await self._request(0x33 if retain else 0x32, text(topic), message)

    async def _request(self, kind, head, tail):
        self.pid += 1
        pid = self.pid
        while True:
            await self.connected.wait()
            event = self.acknowledged[pid] = asyncio.Event()
            try:
                await self._send(kind, head + bytes([pid >> 8, pid & 255]) + tail)
            except OSError:
                await asyncio.sleep(RETRY)
                continue
            await event.wait()
            if self.acknowledged.pop(pid, None):  # else the connection was lost
                return

    async def _connect(self):
        self.reader, self.writer = await asyncio.open_connection(self.config["server"], self.config["port"])
        await self._send(0x10, text("MQTT") + bytes([4, 2, 0, 60]) + text(self.config["client_id"]))
        if await self.reader.readexactly(4) != b"\x20\x02\0\0":
            raise OSError("refused")
        self.connected.set()
        self.up.set()

    async def _run(self):
        while True:
            try:
                while True:
                    await self._receive()
            except (OSError, EOFError):
                pass
            self.connected.clear()
            self.down.set()
            waiting, self.acknowledged = self.acknowledged, {}
            for event in waiting.values():
                event.set()
            while not self.connected.is_set():
                await asyncio.sleep(RETRY)
                try:
                    await self._connect()
                except (OSError, EOFError):
                    pass

    async def _send(self, kind, body):
        length = len(body)
        head = [kind, length] if length < 128 else [kind, length & 127 | 128, length >> 7]
        async with self.lock:
            self.writer.write(bytes(head) + body)
            await self.writer.drain()

    async def _receive(self):
        kind, length, shift, more = (await self.reader.readexactly(1))[0], 0, 0, 128
        while more:
            byte = (await self.reader.readexactly(1))[0]
            length, shift, more = length | (byte & 127) << shift, shift + 7, byte & 128
        body = await self.reader.readexactly(length) if length else b""
        if kind & 0xF0 == 0x30:
            start = 2 + (body[0] << 8 | body[1])
            topic = body[2:start]
            if kind & 6:
                await self._send(0x40, body[start:start + 2])
                start += 2
            self.queue.put(topic, body[start:], bool(kind & 1))
        elif kind & 0xF0 in (0x40, 0x90):
            self.acknowledged[body[0] << 8 | body[1]].set()
