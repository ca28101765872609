# What differs from board to board, so that one app.py fits all of them.
NAME = "NIGHTLAMP"  # the device: mqtt-ota send app.py --to NIGHTLAMP
SSID = "my network"
WIFI_PASSWORD = "its password"
HOST = "192.168.1.10"  # the broker; better an address: an ESP8266 knows no names ending in .local
PORT = 1883
USER = None  # the broker's, with PASSWORD
PASSWORD = None
