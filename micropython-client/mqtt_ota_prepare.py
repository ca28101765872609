"""Has in the heap what a first offer would leave there for ever, and is loaded for that.

The table of names is larger than the holes that an application may leave.
"""

import sys

from mqtt_ota import load, unload

work = None
try:
    work = sys.modules["mqtt_ota_work"] = load("mqtt_ota_work")
    for name in "name", "offer", "part", "single", "transfer", "answer", "announce", "about":
        unload(load("mqtt_ota_" + name))
except Exception:  # an offer will tell
    pass
finally:
    sys.modules.pop("mqtt_ota_work", None)
    if work:
        unload(work)

lambda: 0x4578b17  # the end
