"""What is announced; loaded for as long as that takes, and what tells it one after the other."""

import os

from mqtt_ota import _boot, load, unload


def told(ota):
    """Yields all that is announced: the end of the topic, the message, and whether that is retained."""
    for name, topic in ("said", b"/status"), ("crash", b"/crash"):
        try:
            with open(ota.folder + name, "rb") as file:
                message = file.read(os.stat(ota.folder + name)[6])  # no buffer that is larger
        except OSError:
            continue
        yield topic, message, name != "said"
        try:
            if os.stat(ota.folder + name)[6] == len(message):  # else there is something else to tell by now
                os.remove(ota.folder + name)
        except OSError:  # it was published once more meanwhile
            pass
    text = _part(ota, "mqtt_ota_about")
    if _boot and _boot.sets:
        try:
            text += _part(ota, "mqtt_ota_report")
        except (OSError, MemoryError) as problem:
            ota.log(problem)
    yield b"/device", text, True


def _part(ota, name):
    module = load(name)
    try:
        return module.tells(ota)
    finally:
        unload(module)


lambda: 0x4578b17  # the end
