# Runs the shared vectors of extended offers on the companion client: micropython vectors_extended.py FILE ROOT.
# Prints what differs.
import json
import sys
from binascii import hexlify

import mqtt_ota_boot as boot

boot.boot(sys.argv[2], 0)

import mqtt_ota


def hexadecimal(digest):
    return str(hexlify(digest), "utf-8")


# What an offer would begin is noted instead.
def noted(kind, offer, **what):
    seen.update(what, kind=kind, file=offer.file, hash=hexadecimal(offer.digest), host=offer.host, port=offer.port)
    seen.update(id=offer.id, size=offer.size)


def take_file(ota, offer):
    noted("file", offer)
    ota._installed = True
    return "installed", ""
    yield


def take_set(ota, offer):
    if offer.rollback:
        seen.update(kind="rollback", file="set", hash=hexadecimal(offer.digest))
    else:
        delete = (None, "set", "all")[offer.delete]
        noted("set", offer, dry=offer.dry, trial=offer.trial, delete=delete)
    ota._installed = not offer.dry
    return "installed", ""
    yield


def load(name):
    module = loads(name)
    if name in ("mqtt_ota_single", "mqtt_ota_set"):
        module.take = take_file if name == "mqtt_ota_single" else take_set
    return module


loads = boot.load
boot.load = mqtt_ota.load = load

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
