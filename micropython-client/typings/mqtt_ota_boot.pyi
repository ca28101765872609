"""What a board does before its application begins, at the top of its boot.py:

    try:
        import mqtt_ota_boot
        mqtt_ota_boot.boot()
    except Exception as problem:
        print(problem)
"""

from collections.abc import Callable
from typing import Literal

import mqtt_ota

confirms: bool
"""Whether the client confirms a set on trial by itself, once it has announced itself. False: the application does."""

def boot(
    folder: str = "",
    patience: int = 120,
    reset: Callable[[], object] | None = None,
    *,
    connect: Callable[[], object] = ...,
    at_boot: bool = False,
    confirm_after: int = 0,
    offline: int = 10,
    timer: int | Literal["wdt"] | None = None,
    client: Callable[[], mqtt_ota.UmqttClient] = ...,
    device: str = ...,
    address: str | None = None,
    limit: int = ...,
    rate: int = 1024,
    allow: Callable[[str], bool | int | None] = ...,
    before_reboot: Callable[[], object] = ...,
    progress: Callable[[int, int], object] = ...,
    feed: Callable[[], object] = ...,
    log: Callable[[str], object] = ...,
) -> None:
    """Finishes or takes back what is unfinished. To be called before the application is imported.

    folder         the file system's root; on a board nothing. The client's has to be the same
    patience       seconds that a set on trial has to be confirmed in, before the board is reset
    reset          what reboots the device; `machine.reset` if nothing is given
    connect        joins the network, for what is fetched at boot; may raise
    at_boot        True: everything is fetched at boot, not only what the heap is too small for
    confirm_after  seconds that the application has to run before a set is confirmed
    offline        in which boot without a network a set is taken back; 10 if nothing is given
    timer          the number of the timer that resets a board on trial; "wdt": an ESP32's watchdog does

    The other options are those of `run` and of `mqtt_ota.attach`. Raises nothing of its own.
    """

def run(
    name: str,
    *,
    connect: Callable[[], object] = ...,
    client: Callable[[], mqtt_ota.UmqttClient] = ...,
    device: str = ...,
    address: str | None = None,
    limit: int = ...,
    rate: int = 1024,
    allow: Callable[[str], bool | int | None] = ...,
    before_reboot: Callable[[], object] = ...,
    progress: Callable[[int, int], object] = ...,
    feed: Callable[[], object] = ...,
    log: Callable[[str], object] = ...,
) -> None:
    """Runs the application, and sees to it that the board comes back when that dies.

    name     of its module: "app", in main.py; or "main", at the end of boot.py
    connect  joins the network; may raise. What `boot` was given, if nothing is given
    client   returns an umqtt client, which is not connected yet
    device   the device's name; the client's id if nothing is given

    What kills it is noted, told to whoever sends to the device, and the board is reset. After the third time in a row
    the board runs Wi-Fi, MQTT and this client alone, until an update comes. A row ends with ten minutes of running.
    The other options are those of `mqtt_ota.attach`.
    """

def confirm() -> bool:
    """The set on trial works: it stays. True if there was one, and the board has booted it."""
