# What a device says whose file system is read-only: micropython read_only.py FS OFFER, FS being lfs2 or fat.
import os
import sys
try:
    import vfs
except ImportError:  # MicroPython before 1.22
    import os as vfs

import mqtt_ota


class Ram:
    def __init__(self):
        self.data = bytearray(64 * 512)

    def readblocks(self, block, buffer, offset=0):
        start = block * 512 + offset
        buffer[:] = self.data[start : start + len(buffer)]

    def writeblocks(self, block, buffer, offset=0):
        start = block * 512 + offset
        self.data[start : start + len(buffer)] = buffer

    def ioctl(self, request, _):
        return {4: 64, 5: 512, 6: 0}.get(request)


make = {"lfs2": vfs.VfsLfs2, "fat": vfs.VfsFat}[sys.argv[1]]
flash = Ram()
make.mkfs(flash)
vfs.mount(flash, "/flash", readonly=True)
ota = mqtt_ota.Ota("X", lambda _, message, __: print(message.decode()), "/flash", lambda: None)
ota.announce()
ota.message(b"X/OTA", sys.argv[2].encode())
ota.poll()
