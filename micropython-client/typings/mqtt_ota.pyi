"""Updates for a MicroPython device: an offer comes by MQTT, the file by TCP, straight to flash.

    ota = mqtt_ota.attach(client, "NIGHTLAMP")  # an umqtt client; hides NIGHTLAMP/OTA
    client.connect()
    ota.start()                                 # subscribes, announces
    while True:
        client.check_msg()                      # as before
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, type_check_only

import mqtt_ota_umqtt

__version__: str

@type_check_only
class UmqttClient(Protocol):
    """A client of umqtt.simple, umqtt.robust or umqtt.simple2."""

    sock: Any
    def set_callback(self, f: Any) -> None: ...
    def check_msg(self, *args: Any, **kwargs: Any) -> Any: ...
    def wait_msg(self, *args: Any, **kwargs: Any) -> Any: ...
    def publish(self, *args: Any, **kwargs: Any) -> Any: ...
    def subscribe(self, *args: Any, **kwargs: Any) -> Any: ...
    def ping(self) -> Any: ...

def attach(
    client: UmqttClient,
    name: str,
    *,
    root: str = "",
    reset: Callable[[], object] | None = None,
    address: str | None = None,
    limit: int = ...,
    rate: int = 1024,
    allow: Callable[[str], bool | int | None] = ...,
    before_reboot: Callable[[], object] = ...,
    progress: Callable[[int, int], object] = ...,
    feed: Callable[[], object] = ...,
    log: Callable[[str], object] = ...,
) -> mqtt_ota_umqtt.Ota:
    """Lets an umqtt client take the offers for the device `name`, and hides them from the application's callback.

    To be called before `connect`, and `start` of what it returns after that. Without more, all options are as they
    have to be on a board:

    root           the folder that the offered names are relative to; on a board the file system's own root
    reset          what reboots the device; `machine.reset` if nothing is given
    address        the device's own address; what the module `network` says if nothing is given
    limit          the longest file that it takes, in bytes; 16 MiB if nothing is given
    rate           bytes a second that a sender has to bring at least, averaged over a minute; 0 is any
    allow          is asked before a file is fetched, of a set with "set": False puts it off, a number for so many seconds
    before_reboot  is called before the device is rebooted
    progress       is told how many bytes of what is fetched are there, and of how many; 0 where that is not known
    feed           is called in each turn of the client, for a watchdog
    log            is told what becomes of each offer, such as `print`

    None of these functions may raise anything.
    """

class Ota:
    """The device's side, for any MQTT client. For an umqtt client `attach` makes one."""

    topic: bytes
    """The topic of the offers, NAME/OTA: the application subscribes to it."""

    def __init__(
        self,
        name: str,
        publish: Callable[[bytes, bytes, bool], object] | None = None,
        root: str = "",
        reset: Callable[[], object] | None = None,
        address: str | None = None,
        limit: int = ...,
        rate: int = 1024,
        *,
        allow: Callable[[str], bool | int | None] = ...,
        before_reboot: Callable[[], object] = ...,
        progress: Callable[[int, int], object] = ...,
        feed: Callable[[], object] = ...,
        log: Callable[[str], object] = ...,
    ) -> None:
        """
        name           the device's name: offers come on NAME/OTA
        publish        `publish(topic, message, retain)` sends bytes, with QoS 1 where it can, and raises an OSError
                       where it cannot
        root           the folder that the offered names are relative to; on a board the file system's own root
        reset          what reboots the device; `machine.reset` if nothing is given
        address        the device's own address; what the module `network` says if nothing is given
        limit          the longest file that it takes, in bytes; 16 MiB if nothing is given
        rate           bytes a second that a sender has to bring at least, averaged over a minute; 0 is any
        allow          is asked before a file is fetched, of a set with "set": False puts it off, a number for so many seconds
        before_reboot  is called before the device is rebooted
        progress       is told how many bytes of what is fetched are there, and of how many; 0 where that is not known
        feed           is called in each turn of the client, for a watchdog
        log            is told what becomes of each offer, such as `print`

        None of these functions but `publish` may raise anything.
        """

    def message(self, topic: bytes, message: bytes) -> bool:
        """Notes an offer. False if the message is for somebody else. Returns at once, never raises."""

    def announce(self) -> Any:
        """Publishes what this device is: to be called after each boot and connection. Raises what `publish` raises."""

    def poll(self) -> None:
        """Does what was offered, to its end, and reboots if that says so: to be called every few seconds or more often.

        Blocks meanwhile, calling `alive` at least every quarter of a second. Raises nothing of its own.
        """

    alive: Callable[[], object]
    """Called during a transfer, for clients that must keep a connection alive: to be replaced."""

    def steps(self) -> Iterator[int | str]:
        """Does what the first noted offer asks, in steps, for an application with a loop of its own.

        Yields `NEXT`, `WAIT`, or a status to publish. Whoever leaves before the end must `close` it.
        """

NEXT: int
"""Yielded by `Ota.steps`: a chunk is done."""

WAIT: int
"""Yielded by `Ota.steps`: there is nothing to do before the socket is ready."""
