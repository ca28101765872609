"""Where the files of a set can be put; loaded for as long as that takes."""

import os

import mqtt_ota_boot as boot
from mqtt_ota import const
from mqtt_ota_work import Failed

_FOLDER = const(0x4000)  # in the mode of a file


def _mode(path):
    try:
        return os.stat(path)[0]
    except OSError:
        return 0


def clear(work, path):
    """Makes sure that a file can get this name: neither is it a folder, nor a file that it would be in, unless that goes.

    Returns how much of it are folders that are there.
    """
    root = work.ota.root
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
    mode = _mode(work.ota.root + path)
    return not mode or mode & _FOLDER


def _goes(work, name):
    # Whether the set deletes a file, or, with a slash at the end, all that is in a folder.
    gone = boot.load("mqtt_ota_gone")
    try:
        going = 0
        for path in gone.gone(work):
            if path == name:
                return True
            going += bool(path) and path.startswith(name)
        return name[-1] == "/" and going == sum(1 for _ in gone.of_folders(work, name))
    finally:
        boot.unload(gone)

lambda: 0x4578b17  # the end
