"""What an offer says; loaded for as long as that takes."""

from mqtt_ota import load, unload
from mqtt_ota_work import Failed

_HOST = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:"  # what a host may have


class Offer:
    """An offer, and how far it has come."""

    # It outlives this module, so it has no methods.
    sock = None  # the connection to the sender
    next = last = -1  # the item that comes next on it, if any does; the last that was asked for with it
    size = id = None  # of a plain offer
    set = dry = rollback = False


def parse(message):
    """Returns an Offer. Raises Failed, or ValueError, if it cannot be read."""
    names = load("mqtt_ota_name")
    try:
        return _parse(message, names)
    finally:
        unload(names)


def _parse(message, names):
    offer = Offer()
    offer.message = message
    fields = str(message, "utf-8").split("|")
    if len(fields) < 4 or fields[4:5] not in ([], ["0"], ["1"]):
        raise Failed("bad-offer fields")
    offer.host, port, offer.file, hash = fields[:4]
    if not 0 < len(offer.host) < 254 or offer.host.strip(_HOST):
        raise Failed("bad-offer host")
    if not port or port.strip(_HOST[:10]) or not 0 < int(port) < 65536:
        raise Failed("bad-offer port")
    offer.port = int(port)
    names.allowed(offer.file)
    offer.digest = names.digest(hash)
    offer.reboot = fields[4:5] != ["0"]
    if len(fields) < 6:
        return offer
    options = dict([field.split("=", 1) for field in fields[5:] if "=" in field])
    offer.size = names.number(options.get("size", ""))
    offer.id = options.get("id", "")
    if len(offer.id) != 16 or offer.id.strip(_HOST[:16]):
        raise Failed("bad-offer id")
    offer.rollback, offer.set, offer.dry = [
        ("0", "1").index(options.get(key, "0")) for key in ("rollback", "set", "dry")
    ]
    if offer.rollback or offer.set:
        offer.set = True
        offer.reboot = offer.reboot and not offer.dry
        if offer.file != "set":
            raise Failed("bad-offer file")
        offer.delete = (None, "set", "all").index(options.get("delete"))
        offer.trial = names.number(options.get("trial", "3"), 999)
        if not offer.trial:
            raise ValueError
    return offer

lambda: 0x4578b17  # the end
