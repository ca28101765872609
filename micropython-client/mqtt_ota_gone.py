"""Which files a set deletes; loaded for as long as that takes."""

import os

try:
    from os import ilistdir
except ImportError:
    from mqtt_ota_python import ilistdir

import mqtt_ota_boot as boot
from mqtt_ota import const
from mqtt_ota_work import STATE, Failed, size_of

_FOLDER = const(0x4000)  # in the mode of a file


def _mode(path):
    try:
        return os.stat(path)[0]
    except OSError:
        return 0


def _own(path):
    # What a board needs to be updated again, on a file system that may know no case.
    path = path.lower()
    return path == "boot.py" or path.split("/")[-1][:8] == "mqtt_ota" or path.split("/")[0] == STATE


def gone(work):
    """The files that the set wants deleted, and nothing for each other one that was looked at."""
    if work.offer.delete == 1:
        paths = former(work)
    elif work.offer.delete == 2:
        paths = of_folders(work, "")
    else:
        return
    names = boot.load("mqtt_ota_name")
    try:
        for path in paths:
            try:
                names.allowed(path)
            except Failed:
                path = None  # a name that no set can have
            yield path if path and not _own(path) and not _wants(work, path) else None
    finally:
        boot.unload(names)


def _next(paths):
    # Before 1.25, boards have no next() with a default.
    for path in paths:
        return path


def former(work):
    """The paths of what the last set has brought, and what those before it have left, sorted."""
    first, second = work.paths("set" if boot.there("set") else "was"), work.paths("left")
    one, other = _next(first), _next(second)
    while one or other:
        if not other or one and one <= other:
            path = one
            if one == other:
                other = _next(second)
            one = _next(first)
        else:
            path = other
            other = _next(second)
        if _mode(work.ota.root + path) & _FOLDER == 0 <= size_of(work.ota.root + path):
            yield path


def of_folders(work, folder):
    """The paths of all files in a folder, and those of its empty folders, with a slash."""
    folders = [folder]
    while folders:
        folder = folders.pop()
        count = 0
        for entry in ilistdir((work.ota.root + folder)[:-1] or "/"):  # FAT takes no slash at the end
            count += 1
            path = folder + entry[0]
            if entry[1] != _FOLDER:
                yield path
            elif path != STATE:
                folders.append(path + "/")
        if not count:
            yield folder  # no file's name, so it stays


def _wants(work, path):
    # Where the file system knows no case, something else is called as the client's folder.
    if _mode(work.ota.root + STATE.upper()):
        path = _folded(path)
        return any(_folded(wanted) == path for _, _, wanted in work.manifest(work.name))
    # Its lines are sorted by their paths: so it is among them where those before an offset begin to be less.
    low, high = 0, size_of(boot.state(work.name))
    with open(boot.state(work.name), "rb") as file:
        while low < high:
            middle = (low + high) >> 1
            wanted = _path(file, middle)
            if wanted and wanted < path:
                low = middle + 1
            else:
                high = middle
        return _path(file, low) == path


def _path(file, offset):
    # That of the first line that begins there or behind it.
    file.seek(max(offset - 1, 0))
    if offset:
        file.readline()
    return str(file.readline(), "utf-8")[:-1].split(" ", 2)[-1]


def _folded(path):
    # The same of names that FAT may take for one. Which letters beyond ASCII it folds depends on the board.
    return bytes([min(byte, 127) for byte in path.lower().encode()])


lambda: 0x4578b17  # the end
