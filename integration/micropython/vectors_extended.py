# Runs the shared vectors of extended offers on the companion client: micropython vectors_extended.py FILE ROOT.
# Prints what differs.
import json
import sys
from binascii import hexlify

import mqtt_ota_boot as boot

boot.boot(sys.argv[2], 0)

import mqtt_ota
import mqtt_ota_transfer


def hexadecimal(digest):
    return str(hexlify(digest), "utf-8")


# What an offer would begin is noted instead.
def noted(transfer, digest, **what):
    host, port, id = transfer._peer
    seen.update(what, hash=hexadecimal(digest), host=host, port=port, id=id)


def take_file(transfer, file, digest, size):
    noted(transfer, digest, kind="file", file=file, size=size)
    return ""
    yield


def take_set(work, size):
    delete = (None, "set", "all")[work.delete or 0]
    noted(work.transfer, work.digest, kind="set", file="set", size=size, dry=work.dry, trial=work.trial, delete=delete)
    work.transfer.ota._installed = not work.dry
    return False
    yield


def take_back(digest):
    seen.update(kind="rollback", file="set", hash=digest)
    return
    yield


def load(name):
    module = loads(name)
    if name == "mqtt_ota_check":
        module.get = take_set
    if name == "mqtt_ota_journal":
        module.roll_back = take_back
    return module


loads, boot.load = boot.load, load
mqtt_ota_transfer.Transfer._single = take_file

with open(sys.argv[1]) as file:
    vectors = json.load(file)
wrong = 0
for vector in vectors:
    seen = {}
    resets = []
    ota = mqtt_ota.Ota("X", root=sys.argv[2], reset=lambda: resets.append(1))
    ota.message(b"X/OTA", vector.pop("offer").encode())
    status = [step for step in ota.steps() if isinstance(step, str)][-1]
    state, detail = status.split("|", 1)[0], status.split("|")[-1]
    if state == "failed":
        seen = {"refused": detail.split(" ")[0]}
    else:
        seen["reboot"] = bool(resets) or seen.get("dry", False)  # a dry run reboots nothing
    expected = vector
    if vector.get("kind") == "set":
        expected["trial"] = vector["trial"] or 3
    if vector.get("kind") == "rollback":
        for key in ("host", "port", "id", "size"):  # have no meaning
            expected.pop(key)
    if seen != expected:
        wrong += 1
        print("%r, expected %r" % (seen, expected))
print("%d vectors, %d wrong" % (len(vectors), wrong))
