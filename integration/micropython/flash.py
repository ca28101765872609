"""Block devices for MicroPython's vfs, whose every write can be recorded, and replayed up to a power cut.

Both block protocols of MicroPython: the extended one, in which the file system erases and programs by
itself (LittleFS), and the plain one, which writes whole blocks (FAT).
"""


class Flash:
    """Raw NOR flash in RAM: an erase sets every bit of a block, a program only clears bits.

    A write of whole blocks erases and then programs each of them, as the ports' flash drivers do.
    """

    def __init__(self, blocks=128, block_size=4096, prog=32):
        self.blocks = blocks
        self.block_size = block_size
        self.prog = prog  # bytes: what a program's start and length are multiples of
        # While it is a list, each change is noted as (start, bytes that are there afterwards): what a
        # power cut tears is a change of which only a first part has come about.
        self.operations = None
        self._erased = b"\xff" * block_size
        self._open()

    def _open(self):
        self.image = bytearray(self._erased * self.blocks)

    def readblocks(self, block, buf, offset=0):
        start = block * self.block_size + offset
        buf[:] = self.image[start : start + len(buf)]

    def _store(self, start, data):
        self.image[start : start + len(data)] = data

    def _change(self, start, data):
        if self.operations is not None:
            self.operations.append((start, data))
        self._store(start, data)

    def erasure(self, block):
        """The change that an erase of this block is noted as."""
        return block * self.block_size, self._erased

    def erase(self, block):
        self._change(*self.erasure(block))

    def program(self, block, data, offset):
        if offset % self.prog or len(data) % self.prog or offset + len(data) > self.block_size:
            raise ValueError("a program of %d bytes at %d" % (len(data), offset))
        there = bytearray(len(data))
        self.readblocks(block, there, offset)
        if there != self._erased[: len(data)]:
            old, new = int.from_bytes(there, "little"), int.from_bytes(data, "little")
            if old & new != new:
                raise ValueError("a program of block %d at %d would set bits" % (block, offset))
        self._change(block * self.block_size + offset, bytes(data))

    def writeblocks(self, block, buf, offset=None):
        if offset is None:
            for at in range(0, len(buf), self.block_size):
                self.write(block + at // self.block_size, memoryview(buf)[at : at + self.block_size])
        else:
            self.program(block, buf, offset)

    def write(self, block, data):
        self.erase(block)
        self.program(block, data, 0)

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.blocks
        if operation == 5:
            return self.block_size
        if operation == 6:
            self.erase(argument)
        return 0


class Card(Flash):
    """A memory card in RAM, the best there is: each of its blocks is written wholly or not at all."""

    def __init__(self, blocks=1024, block_size=512):
        super().__init__(blocks, block_size, block_size)

    def write(self, block, data):
        self._change(block * self.block_size, bytes(data))


class FileFlash(Flash):
    """Raw NOR flash in a file: a process that is killed and started again finds it as it left it.

    Nothing is buffered, and nothing but the file is kept, so the heap stays as small as a device's. A
    file that is not there, or too short, is completed with erased blocks.
    """

    def __init__(self, path, blocks=128, block_size=4096, prog=32):
        self._path = path
        super().__init__(blocks, block_size, prog)

    def _open(self):
        open(self._path, "ab").close()
        self._file = open(self._path, "r+b")
        for _ in range(self._file.seek(0, 2) // self.block_size, self.blocks):
            # A kill in the middle of an earlier start can leave a part of a block.
            self._file.seek(self._file.seek(0, 2) // self.block_size * self.block_size)
            self._file.write(self._erased)

    def readblocks(self, block, buf, offset=0):
        self._file.seek(block * self.block_size + offset)
        if self._file.readinto(buf) != len(buf):
            raise ValueError("the image is shorter than the flash")

    def _store(self, start, data):
        self._file.seek(start)
        self._file.write(data)
