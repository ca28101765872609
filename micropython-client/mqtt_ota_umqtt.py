"""The device's side for umqtt.simple and umqtt.robust; mqtt_ota.attach() loads it."""

import io
import select
from errno import ECONNRESET, ETIMEDOUT

import mqtt_ota
from mqtt_ota import const, ticks_diff, ticks_ms

_TIMEOUT = const(10000)  # ms for the broker's answers during an update
# What umqtt raises on a lost connection, or where the heap is full in the middle of a message.
BROKEN = (OSError, AssertionError, IndexError, AttributeError, MemoryError)


class _Sock(io.IOBase):
    # The connection to the broker, as umqtt and the application see it. A read pings in time, however long it
    # waits; a broker that does not answer is lost, which is an OSError.

    def __init__(self, sock, ota):
        self.sock = sock
        self.ota = ota
        self.wait = ota.WAIT  # ms that a read waits; below 0 for as long as it takes
        self.pinged = ticks_ms()
        self.silent = 0  # pings since which nothing has come
        self.poller = select.poll()
        self.poller.register(sock, select.POLLIN)

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def setblocking(self, value):
        self.wait = -1 if value else 0

    def settimeout(self, value):
        self.wait = -1 if value is None else int(value * 1000)

    def ioctl(self, request, flags):
        # Has the application wait for it in a poll of its own.
        poller = select.poll()
        poller.register(self.sock, flags)
        ready = request == 3 and poller.poll(0)
        return ready[0][1] if ready else 0

    def read(self, size):
        wait = _TIMEOUT if self.wait < 0 and self.ota._busy else self.wait
        data = b""
        while True:
            self.sock.setblocking(False)
            part = self.sock.read(size - len(data))
            self.sock.setblocking(True)
            if part is not None:
                self.silent = 0
            client = self.ota.client
            if client.keepalive and ticks_diff(ticks_ms(), self.pinged) > client.keepalive * 500:
                if self.silent > 20 // client.keepalive:  # for 10 s at least
                    raise OSError(ECONNRESET)  # umqtt.simple2 takes ETIMEDOUT for nothing to read
                self.silent += 1
                self.pinged = ticks_ms()
                client.ping()
            if part is not None:
                data += part
                if not part or len(data) == size:
                    return data
            elif wait:
                self.poller.poll(250)  # ms
                if wait > 0:
                    wait = max(wait - 250, 0)
            elif self.wait:
                raise OSError(ETIMEDOUT)
            else:
                return data or None


class Ota(mqtt_ota.Ota):
    """Lets an umqtt client take the offers for NAME, and hides them from the application's callback.

    The options are those of Ota. Works with umqtt.simple 1.3.4 to 1.8.0, and with umqtt.robust.
    """

    # umqtt reads, dispatches and acknowledges inside wait_msg, which its other methods call as well. So
    # the client's methods are wrapped, and offers are done when the outermost of them has returned.

    WAIT = -1  # of a new connection

    def __init__(self, client, name, **options):
        super().__init__(name, **options)
        self.client = client
        self.callback = client.cb
        self._depth = 0
        self.sock = None  # the connection that is subscribed
        self._lost = False
        self._looked = self._began  # ticks of the last look for what comes during a transfer
        client.cb = self._dispatch
        client.set_callback = self.set_callback
        for name in ("check_msg", "wait_msg", "publish", "subscribe", "unsubscribe", "reconnect"):
            if hasattr(client, name):
                self._wrap(name)

    def set_callback(self, callback):
        self.callback = callback

    def _dispatch(self, topic, message, *more):  # umqtt.simple2 gives more
        if not self.message(topic, message) and self.callback:
            self.callback(topic, message, *more)

    def _wrap(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            receives = name[-3:] == "msg"
            outermost = receives and not self._depth
            if outermost:
                self.poll()  # an offer may have come while the client waited for an answer
            if self._busy and name == "reconnect":  # umqtt.robust: it would try for ever
                raise AssertionError
            self._depth += 1
            try:
                result = method(*args, **kwargs)
            finally:
                self._depth -= 1
            if name == "reconnect":
                self._renew()
            elif outermost:
                self.poll()
            return result

        setattr(self.client, name, call)

    def start(self):
        """Subscribes and announces; call it after connect(). Raises what the client raises.

        A later connection is found out and started by itself, at the next message.
        """
        if self.sock is not self.client.sock:
            self.sock = self.client.sock = _Sock(self.client.sock, self)
            self._lost = False
        self.client.subscribe(self.topic, 1)
        self.announce()

    def _renew(self):
        if self.sock is not self.client.sock:
            self._busy = True
            try:
                self.start()
            except Exception:  # umqtt raises its own class, and asserts on what it reads
                self._lost = True
            self._busy = False

    def poll(self):
        if self._busy:
            return
        self._renew()
        super().poll()
        if self._lost:
            # Whatever comes on this connection is out of step. The application finds it closed.
            self._lost = False
            if hasattr(self.client, "reconnect"):
                self.client.reconnect()
            else:
                self.client.sock.close()

    def publish(self, topic, message, retain):
        try:
            if self._lost:
                raise AssertionError
            self.client.publish(topic, message, retain, topic[-4:] != b"/log")
        except BROKEN:
            self._lost = True
            raise OSError(ETIMEDOUT)

    def alive(self):
        # Takes what the broker has sent: the answer to a ping, a newer offer, a request to announce.
        if self._lost or ticks_diff(ticks_ms(), self._looked) < 250:
            return
        self._looked = ticks_ms()
        try:
            self.client.check_msg()
        except BROKEN:
            self._lost = True

lambda: 0x4578b17  # the end
