"""How long an application's watchdog goes without a feed while a set is taken, and what that writes to the flash.

    micropython -X heapsize=16m gaps.py FILES...

Each set replaces all but a quarter of the files of the one before, on LittleFS 2 in RAM with programs of 32 bytes, and
deletes what it has not (delete=all). A step of the client ends with a feed, so the time of the longest step is printed, and
the steps, the time of all, and the flash's erases and programs. Each step is taken as its shortest of three sets: what a busy
computer does in between is not the client's.
"""

import sys
import time

import mqtt_ota_boot as boot
from cuts import ROOT, Disk, content
from flash import Flash
from senders import Extended

ROUNDS = 3


class Reset(BaseException):
    pass


def reset():
    raise Reset


def files(count, round):
    made = {}
    for number in range(count):
        seed = 0 if number % 4 == 3 else round
        made["lib/module_%03d.py" % number] = content(b"%d %d" % (number, seed), 1000)
    return made


class Counted(Flash):
    erases = programs = 0

    def ioctl(self, operation, argument):
        if operation == 6:
            self.erases += 1
        return super().ioctl(operation, argument)

    def writeblocks(self, *args):
        self.programs += 1
        super().writeblocks(*args)


def main(count):
    disk = Disk("lfs2-32")
    disk.device = Counted(blocks=1024, prog=32)
    disk.format()
    disk.boot()
    sender = Extended()
    best = None
    for round in range(ROUNDS + 1):
        for name in list(sys.modules):
            if name[:8] == "mqtt_ota" and name != "mqtt_ota_boot":
                del sys.modules[name]
        boot.boot(ROOT, 0, reset)
        import mqtt_ota

        ota = mqtt_ota.Ota("X", lambda *_: None, ROOT, reset)
        ota.announce()  # confirms the set before
        disk.device.erases = disk.device.programs = 0
        steps = []
        sender.answers = lambda ota, offer: ota.message(b"X/OTA", offer.encode())
        sender.syncs(ota, files(count, round), "|delete=all")
        work = ota.steps()
        try:
            while True:
                began = time.ticks_us()
                step = next(work, None)
                steps.append(time.ticks_diff(time.ticks_us(), began))
                if step is None:
                    raise AssertionError("no reset")
                if step == mqtt_ota.WAIT:
                    while sender.serves():
                        pass
        except Reset:
            pass
        sender.ends()
        if round:  # the first has nothing to replace
            best = [min(pair) for pair in zip(best, steps)] if best and len(best) == len(steps) else steps
    print(
        "%d files: gap=%d us, steps=%d, time=%d ms, erases=%d, programs=%d"
        % (count, max(best), len(best), sum(best) // 1000, disk.device.erases, disk.device.programs)
    )


for argument in sys.argv[1:]:
    main(int(argument))
