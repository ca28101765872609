"""Publishes what the board prints and logs, while somebody asks for it: `mqtt-ota log NAME`.

    log = mqtt_ota_log.start(ota)  # once, after attach()
    log("the door is open")        # where print cannot be taken, and besides
"""

from collections.abc import Callable

import mqtt_ota

def start(ota: mqtt_ota.Ota) -> Callable[..., None]:
    """Has the client say that it can be asked for its log. Returns what logs a line, of words as `print` takes them."""
