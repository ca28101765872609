"""Which files a set deletes, and where its own can be put; loaded for as long as that takes."""

import os

import mqtt_ota
import mqtt_ota_boot as boot
import mqtt_ota_transfer
from mqtt_ota import Failed, const
from mqtt_ota_transfer import size_of

_FOLDER = const(0x4000)  # in the mode of a file


def _mode(path):
    try:
        return os.stat(path)[0]
    except OSError:
        return 0


def _own(path):
    # What a board needs to be updated again, on a file system that may know no case.
    path = path.lower()
    return path == "boot.py" or path.split("/")[-1][:8] == "mqtt_ota" or path.split("/")[0] == mqtt_ota._STATE


def gone(work):
    """The files that the set wants deleted, and nothing for each other one that was looked at."""
    if work.delete == 1:
        paths = former(work)
    elif work.delete == 2:
        paths = _of_folders(work, "")
    else:
        return
    for path in paths:
        try:
            mqtt_ota_transfer.parse(["h", "1", path, "0" * 40])
        except Failed:
            path = None  # a name that no set can have
        yield path if path and not _own(path) and not _wants(work, path) else None


def clear(work, path):
    """Makes sure that a file can get this name: neither is it a folder, nor a file that it would be in, unless that goes.

    Returns how much of it are folders that are there.
    """
    root = work.transfer.root
    if _mode(root + path) & _FOLDER and not _goes(work, path + "/"):
        raise Failed("bad-name %s is a folder" % path)
    end = path.rfind("/")
    while end > 0:
        mode = _mode(root + path[:end])
        if mode & _FOLDER:
            return end
        if mode and not _goes(work, path[:end]):
            raise Failed("bad-name %s is not a folder" % path[:end])
        end = path.rfind("/", 0, end)
    return 0


def is_new(work, path):
    """Whether there is no file of this name yet."""
    mode = _mode(work.transfer.root + path)
    return not mode or mode & _FOLDER


def _goes(work, name):
    # Whether the set deletes a file, or, with a slash at the end, all that is in a folder.
    going = 0
    for path in gone(work):
        if path == name:
            return True
        going += bool(path) and path.startswith(name)
    return name[-1] == "/" and going == sum(1 for _ in _of_folders(work, name))


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
        if _mode(work.transfer.root + path) & _FOLDER == 0 <= size_of(work.transfer.root + path):
            yield path


def _of_folders(work, folder):
    folders = [folder]
    while folders:
        folder = folders.pop()
        count = 0
        for entry in _list((work.transfer.root + folder)[:-1] or "/"):  # FAT takes no slash at the end
            count += 1
            path = folder + entry[0]
            if entry[1] != _FOLDER:
                yield path
            elif path != mqtt_ota._STATE:
                folders.append(path + "/")
        if not count:
            yield folder  # no file's name, so it stays


def _wants(work, path):
    lines = work.manifest(work.name)
    # Where the file system knows no case, something else is called as the client's folder.
    if _mode(work.transfer.root + mqtt_ota._STATE.upper()):
        path = _folded(path)
        return any(_folded(wanted) == path for _, _, wanted in lines)
    wanted = ""
    while wanted is not None and wanted < path:
        for _, _, wanted in lines:
            break
        else:
            wanted = None
    lines.close()
    return wanted == path


def _folded(path):
    # The same of names that FAT may take for one. Which letters beyond ASCII it folds depends on the board.
    return bytes([min(byte, 127) for byte in path.lower().encode()])


def _list(folder):
    # The name and the kind of each entry.
    if hasattr(os, "ilistdir"):
        return os.ilistdir(folder)
    return [(entry.name, _FOLDER if entry.is_dir() else 0x8000) for entry in os.scandir(folder)]


lambda: 0x4578b17  # the end
