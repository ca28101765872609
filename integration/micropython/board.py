"""A board: MicroPython's unix port, with a real file system on an image as its flash.

    micropython board.py FS IMAGE flash FOLDER   formats it and copies the folder's files to it
    micropython board.py FS IMAGE put FOLDER     copies the folder's files to it
    micropython board.py FS IMAGE boot           runs boot.py and main.py from it, as firmware does
    micropython board.py FS IMAGE prompt         has its prompt on the terminal, as firmware whose main.py has ended
    micropython board.py FS IMAGE read FILE      writes the file, in hexadecimal, to standard output
    micropython board.py FS IMAGE list           lists all files, a line each

FS is lfs2, lfs1 or fat. While the board runs, nothing of the host's files can be seen from it. A reset
kills the process, as nothing else ends so suddenly; whoever started it starts it again.
"""

import os
import sys
import time
from binascii import hexlify
try:
    import vfs
except ImportError:  # MicroPython before 1.22
    import os as vfs

from flash import FileFlash

BLOCKS = 256
BLOCK = 4096  # bytes, as on every board
PROG = 32  # bytes, as on an ESP8266


def file_system(kind):
    if kind == "fat":
        return vfs.VfsFat, {}
    options = {"progsize": PROG, "readsize": PROG}
    return (vfs.VfsLfs2 if kind == "lfs2" else vfs.VfsLfs1), options


def walk(folder):
    for name, kind, *_ in sorted(os.ilistdir(folder)):
        path = folder + "/" + name
        if kind & 0x4000:
            yield from walk(path)
        else:
            yield path


def copy(source, target):
    for path in walk(source):
        name = path[len(source):]
        for end, c in enumerate(name):
            if c == "/" and end:
                try:
                    os.mkdir(target + name[:end])
                except OSError:
                    pass
        with open(path, "rb") as old, open(target + name, "wb") as new:
            new.write(old.read())


def power_on():
    vfs.umount("/")
    vfs.mount(disk, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.modules.pop("flash", None)


def boot():
    power_on()
    for name in ("boot", "main"):
        try:
            os.stat(name + ".py")
        except OSError:
            continue
        try:
            __import__(name)
        except Exception as error:
            sys.print_exception(error)
    if "machine" in sys.modules and sys.modules["machine"].Timer.armed:
        while True:  # the firmware's prompt, at which a timer goes on
            time.sleep(1)


kind, image, command = sys.argv[1:4]
blocks = FileFlash(image, blocks=BLOCKS, block_size=BLOCK, prog=PROG)
make, options = file_system(kind)
if command == "flash":
    make.mkfs(blocks, **options)
disk = make(blocks, **options)
if command == "boot":
    boot()
elif command == "prompt":
    import raw_repl

    power_on()
    raw_repl.serve()
else:
    vfs.mount(disk, "/flash")
    if command in ("flash", "put"):
        copy(sys.argv[4], "/flash")
    elif command == "read":
        with open("/flash/" + sys.argv[4], "rb") as file:
            print(str(hexlify(file.read()), "utf-8"))
    else:
        for path in walk("/flash"):
            print(path[len("/flash/"):])
    vfs.umount("/flash")
