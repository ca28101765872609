"""LittleFS 2 on an image, for measurements: it takes no more of the heap than a driver in C would.

    micropython -m heap_flash IMAGE FILE...    formats one, and copies files to it
"""

import sys
import vfs

ROOT = "/flash"
_BLOCK = 4096  # bytes, as on every board
_BLOCKS = 512
_PROG = 32  # bytes, as on an ESP8266


class _Flash:
    def __init__(self, path):
        self._file = open(path, "r+b")

    def readblocks(self, block, buf, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        self._file.seek(block * _BLOCK + offset)
        self._file.write(buf)

    def ioctl(self, operation, argument):
        if operation == 4:
            return _BLOCKS
        if operation == 5:
            return _BLOCK
        return 0  # what was erased is not read before it is programmed


def mount(path):
    vfs.mount(vfs.VfsLfs2(_Flash(path), progsize=_PROG, readsize=_PROG), ROOT)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as image:
        image.seek(_BLOCK * _BLOCKS - 1)
        image.write(b"\xff")
    vfs.VfsLfs2.mkfs(_Flash(sys.argv[1]), progsize=_PROG, readsize=_PROG)
    mount(sys.argv[1])
    for path in sys.argv[2:]:
        with open(path, "rb") as old, open(ROOT + "/" + path.split("/")[-1], "wb") as new:
            new.write(old.read())
    vfs.umount(ROOT)
