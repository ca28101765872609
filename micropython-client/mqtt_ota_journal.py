"""Puts a set of files in place, and takes it back; loaded for as long as that takes.

A set is committed by one rename; until then nothing outside of the client's folder is touched. Each step tells from
the names that are there what is still to do, so it can be cut anywhere, and done again.

In the client's folder, `.mqtt-ota`, N being the number of a file's line in the manifest, which is 0:

    0        the manifest of a set that is fetched
    N, kN    the staged file; a copy of the file that it replaces. Sixteen to a folder, as 1/17 and k1/17
    plan     a journal that is not committed: its copies are being made
    commit   the journal of a set that is being put in place
    trial    of one that is in place, and not confirmed; `boots` tells of its boots, as in `mqtt_ota_trial`
    last     of one that is confirmed, and whose copies are still kept
    undo     of one that is being taken back
    back     of the last one that was taken back; `error` says why
    drop     of one whose copies are being removed
    set      the manifest of what is installed; `was`, if a file was changed by itself since
    left     lines like a manifest's: the files of sets before it that are still there
    l, kl    the next one of these; a copy of the one before it
    part     the bytes of a file that is fetched by itself; `part.of` has its hash
    offer    an offer that is fetched at boot; `tries` has one byte for each boot that tried
    said     the status that tells what became of it
    crash    why the application died last; `crashes` has one byte for each time in a row

A journal's first line has the hash of the set and its trial, the second the id of its offer. Each other line is
`+ N DEPTH PATH`, a file that is new, `= N DEPTH PATH`, one that is replaced, or `- N DEPTH PATH`, one that goes.
DEPTH is how much of the path are folders that were there before. What goes makes room for what comes, and the reverse
when the set is taken back: so a file can become a folder, and a folder a file.
"""

import os
from binascii import hexlify

import mqtt_ota_boot as boot
from mqtt_ota_boot import quietly, state, there


def lines(name):
    """The kind, number, depth and path of each line of a journal that can be read."""
    with open(state(name), "rb") as journal:
        for line in journal:
            try:
                kind, number, depth, path = str(line, "utf-8").split(" ", 3)
                line = kind, number, int(depth), path[:-1]
            except ValueError:
                continue
            yield line


def _rank(path):
    # What a boot needs is changed last, boot.py after all that it may call; and it is put back first.
    return 2 if path == "boot.py" else path.split("/")[-1][:8] == "mqtt_ota"


def _turns(name, odd, turns):
    # The lines in the order in which they are done: by their rank, and within it those of an odd kind apart.
    there = 0
    for kind, _, _, path in lines(name):
        there |= 1 << 2 * _rank(path) + (kind in odd)
    for turn in turns:
        if there & 1 << turn:
            for line in lines(name):
                if 2 * _rank(line[3]) + (line[0] in odd) == turn:
                    yield line


def _place(name, path):
    # Gives a file in the client's folder its name, and it a folder.
    end = path.find("/")
    while end > 0:
        quietly(os.mkdir, boot.root + "/" + path[:end])
        end = path.find("/", end + 1)
    if os.stat(state(name))[6]:
        os.rename(state(name), boot.root + "/" + path)
    else:
        # LittleFS 1 tells a file by where its bytes are: a rename that is cut can lose one that has none.
        open(boot.root + "/" + path, "wb").close()
        os.remove(state(name))


def _remove(path, depth):
    # And the folders that it leaves empty.
    quietly(os.remove, boot.root + "/" + path)
    end = path.rfind("/")
    while end > depth:
        folder = boot.root + "/" + path[:end]
        try:
            if not os.stat(folder)[0] & 0x4000:
                return  # it is a file by now, which LittleFS would remove as well
        except OSError:
            pass
        quietly(os.rmdir, folder)
        end = path.rfind("/", 0, end)


def _clear(before, number=""):
    # Removes the folder that the work has left, if that is empty.
    folder = number.split("/")[0] if "/" in number else ""
    if before and before != folder:
        quietly(os.rmdir, state(before))
    return folder


def finish():
    """Puts the files of the committed set in place; where that cannot be, takes all of them back.

    Yields after each, and nobody leaves in the middle of it; returns whether they are in place.
    """
    try:
        return (yield from _finish())
    except GeneratorExit:
        if there("commit"):
            for _ in _finish():
                pass
        raise


def _finish():
    boot.trial = None
    folder = ""
    try:
        for kind, number, _, path in _turns("commit", "+=", range(6)):
            folder = _clear(folder, number)
            if kind == "-":
                _remove(path, 0)
            elif there(number):
                _place(number, path)
            yield 0
        _clear(folder)
    except OSError as problem:
        boot.load("mqtt_ota_recover").note("not put in place: %s" % problem)
        os.rename(state("commit"), state("undo"))
        yield from undo()
        return False
    for name in ("boots", "error", "back"):
        quietly(os.remove, state(name))
    quietly(_write, "boots", b"1 0 0 *")  # the first boot of the trial is counted
    yield from mended()
    os.rename(state("commit"), state("trial"))
    return True


def undo():
    """Puts the files back that were there before the set; yields after each."""
    folder = copies = ""
    for kind, number, depth, path in _turns("undo", "+", range(5, -1, -1)):
        quietly(os.remove, state(number))
        folder = _clear(folder, number)
        if kind == "+":
            _remove(path, depth)
        elif there("k" + number):
            quietly(_place, "k" + number, path)
            copies = _clear(copies, "k" + number)
        yield 0
    _clear(folder)
    _clear(copies)
    quietly(os.remove, state("boots"))
    yield from mended()
    os.rename(state("undo"), state("back"))


def mended():
    """The application is another one: what the one before died of is told no longer. In steps."""
    if there("crashes"):
        quietly(_write, "crash", b"")
        quietly(os.remove, state("crashes"))
    yield 0


def _write(name, data):
    with open(state(name), "wb") as file:
        file.write(data)


def forget(name):
    """Removes the copies that a journal keeps: from here on it cannot be taken back. Yields after each."""
    for journal in ("drop", name):
        if there(journal):
            if journal == name:
                os.rename(state(name), state("drop"))
            folder = ""
            for _, number, _, _ in lines("drop"):
                quietly(os.remove, state("k" + number))
                folder = _clear(folder, "k" + number)
                yield 0
            _clear(folder)
            os.remove(state("drop"))


def roll_back(digest):
    """Takes the set with this digest back, if that can be; in steps, which nobody leaves in the middle."""
    for name in ("trial", "last"):
        if boot.read(name).split(" ")[0].encode() == hexlify(digest):
            boot.load("mqtt_ota_recover").note("on request")
            os.rename(state(name), state("undo"))
            try:
                yield from undo()
            except GeneratorExit:
                for _ in undo() if there("undo") else ():
                    pass
                raise
            return
    from mqtt_ota_work import Failed

    raise Failed("gone what was there before this set is not kept")


lambda: 0x4578b17  # the end
