"""Stands in for Wi-Fi, whose access point goes with `wifi 0` and comes with `wifi 1`.

A station that has lost it does not join again by itself, as on a Pico W. Open sockets stay open. No access point knows the
key "wrong".
"""

import os

import bench

STA_IF, AP_IF = 0, 1


class WLAN:
    there = os.getenv("BOARD_WIFI") != "0"
    joined = False

    def __init__(self, interface):
        self.interface = interface

    def active(self, _=None):
        return True

    def connect(self, ssid, key):
        print("joins", ssid)
        WLAN.joined = key != "wrong"

    def disconnect(self):
        WLAN.joined = False

    def isconnected(self):
        return self.interface == STA_IF and self.there and self.joined

    def ifconfig(self):
        address = "127.0.0.1" if self.isconnected() else "0.0.0.0"
        return address, "255.0.0.0", address, address


def _switch(there):
    WLAN.there = bool(there)
    if not there:
        WLAN.joined = False


bench.on("wifi", _switch)
