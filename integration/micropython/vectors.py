# Runs the shared vectors on the companion client: micropython vectors.py FILE. Prints what differs.
import json
import sys
from binascii import hexlify, unhexlify

import mqtt_ota
import mqtt_ota_offer
import mqtt_ota_work


def refusal(message):
    ota = mqtt_ota.Ota("X", root="/nowhere", reset=lambda: None)
    ota.message(b"X/OTA", message)
    state, rest = next(ota.steps()).split("|", 1)
    return rest.split("|")[-1].split(" ")[0] if state == "failed" else state


with open(sys.argv[1]) as file:
    vectors = json.load(file)
wrong = 0
for vector in vectors:
    message = unhexlify(vector["hex"]) if "hex" in vector else vector["offer"].encode()
    refused = vector.get("refused") or vector.get("without_blake3")
    if refused:
        got, expected = refusal(message), refused
    else:
        try:
            offer = mqtt_ota_offer.parse(message)
            got = (offer.host, offer.port, offer.file, hexlify(offer.digest).decode(), offer.reboot)
        except mqtt_ota_work.Failed as failed:
            got = failed.args[0]
        expected = tuple([vector[key] for key in ("host", "port", "file", "hash", "reboot")])
    if got != expected:
        wrong += 1
        print("%r is %r, expected %r" % (message, got, expected))
print("%d vectors, %d wrong" % (len(vectors), wrong))
