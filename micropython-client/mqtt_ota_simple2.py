"""The device's side for umqtt.simple2, whose connections do not block; mqtt_ota.attach() loads it."""

from errno import ETIMEDOUT

import mqtt_ota_umqtt
from mqtt_ota import ticks_diff, ticks_ms
from umqtt.simple2 import MQTTException

_BROKEN = mqtt_ota_umqtt.BROKEN + (MQTTException,)


class Ota(mqtt_ota_umqtt.Ota):
    """Lets an umqtt.simple2 client take the offers for NAME, and hides them from the application's callback."""

    WAIT = 0  # a read returns at once

    def publish(self, topic, message, retain):
        # The client's own publish() does not wait for the broker's answer.
        client = self.client
        try:
            if self._lost:
                raise AssertionError
            pid = client.publish(topic, message, retain, int(topic[-4:] != b"/log"))
            deadline = client.rcv_pids.get(pid)
            while pid in client.rcv_pids:
                client.check_msg()
                self.feed()
            if pid and ticks_diff(deadline, ticks_ms()) <= 0:  # the client has given it up
                raise OSError(ETIMEDOUT)
        except _BROKEN:
            self._lost = True
            raise OSError(ETIMEDOUT)

    def alive(self):
        try:
            super().alive()
        except MQTTException:
            self._lost = True

    def _renew(self):
        if self.client.sock:  # else the application has disconnected
            super()._renew()


lambda: 0x4578b17  # the end
