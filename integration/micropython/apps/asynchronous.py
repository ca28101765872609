# The application of the tests, in asyncio. Its MQTT client has the coroutines and the queue of mqtt_as.
import asyncio
import sys

import mqtt_ota_asyncio
from settings import HOST, NAME, PORT

VERSION = "1"
ROOT = sys.argv[1] if len(sys.argv) == 2 else ""  # on a computer; a board has a file system of its own


def reset():
    from machine import reset

    reset()


class Client:
    def __init__(self):
        self.queue = []
        self.acknowledged = {}
        self.pid = 0
        self.more = asyncio.Event()
        self.writing = asyncio.Lock()  # two at a time lose what one of them writes

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(HOST, PORT)
        await self.send(0x10, self.text("MQTT") + bytes([4, 2, 0, 60]) + self.text(NAME))
        await self.reader.readexactly(4)
        self.task = asyncio.create_task(self.receive())

    def text(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        return bytes([len(data) >> 8, len(data) & 255]) + data

    async def send(self, kind, body=b""):
        length = len(body)
        head = [kind, length] if length < 128 else [kind, length & 127 | 128, length >> 7]
        async with self.writing:
            self.writer.write(bytes(head) + body)
            await self.writer.drain()

    async def receive(self):
        while True:
            kind, length, shift, more = (await self.reader.readexactly(1))[0], 0, 0, 128
            while more:
                byte = (await self.reader.readexactly(1))[0]
                length, shift, more = length | (byte & 127) << shift, shift + 7, byte & 128
            body = await self.reader.readexactly(length) if length else b""
            if kind & 0xF0 == 0x30:
                start = 2 + (body[0] << 8 | body[1])
                topic = body[2:start]
                if kind & 6:
                    await self.send(0x40, body[start:start + 2])
                    start += 2
                self.queue.append((topic, body[start:], bool(kind & 1)))
                self.more.set()
            elif kind & 0xF0 in (0x40, 0x90):
                self.acknowledged.pop(body[0] << 8 | body[1]).set()

    async def request(self, kind, head, tail):
        self.pid += 1
        event = self.acknowledged[self.pid] = asyncio.Event()
        await self.send(kind, head + bytes([self.pid >> 8, self.pid & 255]) + tail)
        await event.wait()

    async def subscribe(self, topic, qos):
        await self.request(0x82, b"", self.text(topic) + bytes([qos]))

    async def publish(self, topic, message, retain, qos):
        await self.request(0x33 if retain else 0x32, self.text(topic), message)

    async def next(self):
        while not self.queue:
            self.more.clear()
            await self.more.wait()
        return self.queue.pop(0)


turns = 0


async def turn():
    # Counts how often the loop comes round: whatever blocks it stops this as well.
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0)


async def main():
    client = Client()
    ota = mqtt_ota_asyncio.Ota(client, NAME, root=ROOT, reset=reset, address=HOST)
    await client.connect()
    await client.subscribe(NAME + "/lamp", 1)
    await ota.start()
    turning = asyncio.create_task(turn())
    print("version", VERSION, "is ready")
    while True:
        topic, message, _ = await client.next()
        if not ota.message(topic, message):
            print("app", topic.decode(), message)
            said = str(turns).encode() if message == b"turns" else b"heard " + message
            await client.publish(topic + b"/said", said, False, 1)


asyncio.run(main())
