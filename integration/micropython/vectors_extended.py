# Runs the shared vectors of extended offers on the companion client: micropython vectors_extended.py FILE ROOT.
# Prints what differs.
import json
import sys
from binascii import hexlify

import mqtt_ota_boot as boot

boot.boot(sys.argv[2], 0)

import mqtt_ota
import mqtt_ota_set as sets


def hexadecimal(digest):
    return str(hexlify(digest), "utf-8")


# What an offer would begin is noted instead.
def take_file(ota, link, name, digest, size, what):
    seen.update(kind="file", file=name, hash=hexadecimal(digest), size=size)
    seen.update(host=link.host, port=link.port, id=link.id)
    return ""
    yield


def take_set(self, text, size, what):
    seen.update(kind="set", file="set", hash=hexadecimal(self.digest), size=size)
    seen.update(host=self.link.host, port=self.link.port, id=self.link.id)
    seen.update(dry=self.dry, trial=self.trial, delete=(None, "set", "all")[self.delete or 0])
    return ""
    yield


def take_back(digest):
    seen.update(kind="rollback", file="set", hash=digest)


sets._file = take_file
sets._Set.steps = take_set
sets._roll_back = take_back

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
