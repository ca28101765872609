# When a set on trial is confirmed, and that a watchdog is fed meanwhile: micropython confirms.py ROOT. Ends with "all right".
try:
    import asyncio
except ImportError:  # MicroPython before 1.21
    import uasyncio as asyncio
import os
import sys
import time

import mqtt_ota_boot as boot

root = sys.argv[1]
state = root + "/.mqtt-ota/"
os.mkdir(root + "/.mqtt-ota")


def sleep(ms):
    time.sleep_ms(ms) if hasattr(time, "sleep_ms") else time.sleep(ms / 1000)


def installed():
    # A set was put in place, and the device boots it.
    for name in os.listdir(root + "/.mqtt-ota"):
        os.remove(state + name)
    with open(state + "trial", "w") as journal:
        journal.write("%s 3\n" % ("0" * 64))
    boot.boot(root, 0)
    assert on_trial()


def on_trial():
    return "trial" in os.listdir(root + "/.mqtt-ota")


boot.boot(root, 0)
import mqtt_ota
import mqtt_ota_asyncio

said = []
works = False


def publish(topic, message, retain):
    if not works:
        raise OSError(110)
    said.append(message)


def device():
    return mqtt_ota.Ota("X", publish, root, lambda: None)


# A broker that does not take the announcement.
installed()
ota = device()
for _ in range(3):
    try:
        ota.announce()
        assert False
    except OSError:
        pass
    ota.poll()
    assert on_trial()
works = True
ota.announce()
assert not on_trial()
assert len(said) == 2 and b"boots=1" in said[0].split(b"|") and b"|boots=" not in said[1], said

# One that does, of an application that has to run first.
installed()
said = []
boot.options["confirm_after"] = 1
ota = device()
ota.announce()
ota.poll()
assert on_trial() and len(said) == 1
sleep(1100)
ota.poll()
assert not on_trial() and len(said) == 2, said

# The application decides.
installed()
boot.confirms = False
boot.options["confirm_after"] = 0
ota = device()
ota.announce()
ota.poll()
assert on_trial()
assert boot.confirm() and not boot.confirm() and not on_trial()
boot.confirms = True


class Client:
    async def subscribe(self, topic, qos):
        pass

    async def publish(self, topic, message, retain, qos):
        assert qos == 1
        await asyncio.sleep(0)
        publish(topic, message, retain)


async def asynchronous():
    global works, said
    works = False
    installed()
    ota = mqtt_ota_asyncio.Ota(Client(), "X", root=root, reset=lambda: None)
    try:
        await ota.start()
        assert False
    except OSError:
        assert on_trial()
    works = True
    said = []
    await ota.start()
    assert not on_trial() and len(said) == 2, said

    installed()
    boot.options["confirm_after"] = 1
    said = []
    ota = mqtt_ota_asyncio.Ota(Client(), "X", root=root, reset=lambda: None)
    await ota.start()
    assert on_trial() and len(said) == 1
    await asyncio.sleep(2)
    assert not on_trial() and len(said) == 2, said


    # A watchdog is fed while a broker is waited for that does not answer.
    class Silent(Client):
        async def publish(self, topic, message, retain, qos):
            await asyncio.sleep(60)

    fed = []
    mqtt_ota_asyncio._TIMEOUT = 1
    ota = mqtt_ota_asyncio.Ota(Silent(), "X", root=root, reset=lambda: None, feed=lambda: fed.append(0))
    ota.message(b"X/OTA", b"junk")
    await asyncio.sleep(2)
    times = len(fed)
    assert times > 10, times
    await asyncio.sleep(0.2)
    assert len(fed) == times and not ota._busy


asyncio.run(asynchronous())
print("all right")
