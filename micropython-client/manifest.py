# Freezes the client into a firmware of your own: include("PATH/micropython-client") in the board's manifest.
import json

with open("package.json") as file:
    package = json.load(file)

metadata(
    description="Updates for a device: offers by MQTT, files by TCP",
    version=package["version"],
    license="MIT OR Apache-2.0",
)
for target, source in package["urls"]:
    module(source, opt=3)
