# Joins Wi-Fi. app.py calls connect() before it does anything with the network, and again and again.
import time

import network

from settings import SSID, WIFI_PASSWORD

TIMEOUT = 20 * 1000  # ms to join, and to get an address

network.WLAN(network.AP_IF).active(False)  # a new ESP8266 opens a network of its own
station = network.WLAN(network.STA_IF)


def connect():
    """Returns at once if there is Wi-Fi, else joins it. Raises OSError if it cannot."""
    if station.isconnected():
        return
    print("joining", SSID)
    station.active(True)
    station.disconnect()  # an ESP32 that is still trying takes no other attempt
    station.connect(SSID, WIFI_PASSWORD)
    since = time.ticks_ms()
    while not station.isconnected():
        if time.ticks_diff(time.ticks_ms(), since) > TIMEOUT:
            raise OSError("no Wi-Fi")
        time.sleep_ms(50)
