"""What may be in an offer or a manifest; loaded for as long as that takes."""

from binascii import unhexlify

from mqtt_ota_work import STATE, Failed


def number(text, most=1 << 50):
    """A number in decimal digits. Raises ValueError."""
    if not text or len(text) > 15 or text.strip("0123456789") or int(text) > most:
        raise ValueError
    return int(text)


def digest(text):
    """The bytes of a SHA-1 or SHA-256 in hexadecimal digits."""
    if len(text) not in (40, 64) or text.strip("0123456789abcdef"):
        raise Failed("bad-offer hash")
    return unhexlify(text)


def allowed(file):
    """Raises Failed if no file may have this name."""
    if len(file.encode()) > 128 or file.split("/")[0].lower() == STATE:
        raise Failed("bad-name")
    for part in file.split("/"):
        if part[-1:] in ("", ".", " "):  # FAT would strip these
            raise Failed("bad-name")
    last = 0
    for c in file.encode():  # each character of a text would be interned, and stay for ever
        # Nor what FAT calls a file whose name is long.
        if c < 32 or c in b"\\\x7f" or last == 0xC2 and c < 0xA0 or last == 0x7E and 48 <= c < 58:
            raise Failed("bad-name")
        last = c

lambda: 0x4578b17  # the end
