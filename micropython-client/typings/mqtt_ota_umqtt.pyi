"""The device's side for umqtt.simple and umqtt.robust. `mqtt_ota.attach` loads it."""

from collections.abc import Callable
from typing import Any

import mqtt_ota

class Ota(mqtt_ota.Ota):
    """What `mqtt_ota.attach` returns."""

    client: mqtt_ota.UmqttClient

    def __init__(self, client: mqtt_ota.UmqttClient, name: str, **options: Any) -> None:
        """The options are those of `mqtt_ota.attach`."""

    def start(self) -> None:
        """Subscribes and announces: to be called after `connect`. Raises what the client raises.

        A later connection is found out and started by itself, at the next message.
        """

    def set_callback(self, callback: Callable[..., object]) -> None:
        """What the client's `set_callback` does as well: sets the application's callback, which never sees an offer."""
