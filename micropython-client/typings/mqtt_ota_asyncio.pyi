"""The same as mqtt_ota, for applications that run in asyncio, such as with mqtt_as.

    ota = mqtt_ota_asyncio.Ota(client, "NIGHTLAMP")
    await client.connect()
    await ota.start()                                # after each connection
    async for topic, message, *more in client.queue:
        if not ota.message(topic, message):
            ...                                      # the application's own
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, type_check_only

import mqtt_ota

@type_check_only
class AsyncClient(Protocol):
    """A client of mqtt_as or aiomqtt, or any with these coroutines."""

    async def publish(self, topic: Any, message: Any, /, *, retain: Any = ..., qos: Any = ...) -> Any: ...
    async def subscribe(self, topic: Any, qos: Any = ..., /) -> Any: ...

class Ota(mqtt_ota.Ota):
    """The device's side, for a client with the coroutines of mqtt_as. An update is a task of its own."""

    client: AsyncClient

    def __init__(
        self,
        client: AsyncClient,
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
    ) -> None:
        """
        client         one with the coroutines `publish(topic, message, retain=, qos=)` and `subscribe(topic, qos)`
        name           the device's name: offers come on NAME/OTA
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

    async def start(self) -> None:
        """Subscribes and announces: to be awaited after each connection. Raises what the client raises."""

    async def announce(self) -> None:
        """Publishes what this device is; `start` does that as well."""

    def publish(self, topic: bytes, message: bytes, retain: bool) -> Coroutine[Any, Any, Any]:
        """Publishes by the client."""

    def message(self, topic: bytes, message: bytes) -> bool:
        """Notes an offer and has a task take it. False if the message is for somebody else."""
