"""What is told before the announcement; loaded for as long as that takes."""

import os


def told(ota, text):
    """Yields what became of an offer in this boot or the one before, and what the application has died of."""
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
    return "mqtt_ota_about", text


lambda: 0x4578b17  # the end
