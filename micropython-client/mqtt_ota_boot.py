"""What a board does about sets of files before anything else: two lines at the top of its boot.py.

    import mqtt_ota_boot
    mqtt_ota_boot.boot()

A set is committed by one rename; until then nothing outside of the client's folder is touched. Whatever
cut the power afterwards, the board comes through here before its application begins: a commit that was
not finished is finished, a set on trial that was not confirmed is taken back. Each step tells from the
names that are there what is still to do, so it can be cut anywhere, and done again.

In the client's folder, `.mqtt-ota`, N being the number of a file's line in the manifest, which is 0:

    N, kN    the staged file; a copy of the file that it replaces
    plan     a journal that is not committed: its copies are being made
    commit   the journal of a set that is being put in place
    trial    of one that is in place, and not confirmed; `boots` has one byte for each boot since
    last     of one that is confirmed, and whose copies are still kept
    undo     of one that is being taken back
    back     of the last one that was taken back; `error` says why
    drop     of one whose copies are being removed
    set      the manifest of what is installed; `was`, if a file was changed by itself since
    left     lines like a manifest's: the files of sets before it that are still there
    l, kl    the next one of these; a copy of the one before it

A journal's first line has the hash of the set and its trial. Each other line is `+ N DEPTH PATH`, a file
that is new, `= N DEPTH PATH`, one that is replaced, or `- N DEPTH PATH`, one that goes. DEPTH is how much
of the path are folders that were there before. What goes makes room for what comes, and the reverse when the
set is taken back: so a file can become a folder, and a folder a file.
"""

import os

_STATE = "/.mqtt-ota/"
_LIMIT = 200  # bytes of an error at most, as they have to fit into an announcement
_TRIAL = 3  # where a journal does not tell

root = ""
trades = True  # a file can become a folder
confirms = True  # the client by itself, once it has announced itself; or else the application calls confirm()
confirm_after = 0  # seconds that the application has to run before that
_announced = False  # the broker knows of this boot
_timer = None  # resets a board that does not confirm
_tried = False  # the set on trial was there when the board booted


def state(name):
    return root + _STATE + name


def there(name):
    """Whether there is such a file in the client's folder."""
    try:
        os.stat(state(name))
        return True
    except OSError:
        return False


def quietly(call, *paths):
    """Does what may have been done already."""
    try:
        call(*paths)
    except OSError:
        pass


def lines(name):
    """The kind, number, depth and path of each line of a journal that can be read."""
    with open(state(name), "rb") as journal:
        journal.readline()
        for line in journal:
            try:
                kind, number, depth, path = str(line, "utf-8").split(" ", 3)
                line = kind, number, int(depth), path[:-1]
            except ValueError:
                continue
            yield line


def head(name):
    """The hash and the trial of a journal."""
    try:
        with open(state(name), "rb") as journal:
            digest, trial = str(journal.readline(), "utf-8").split()
            return digest, int(trial)
    except (OSError, ValueError):
        return None, _TRIAL


def _rank(path):
    # What a boot needs is changed last, boot.py after all that it may call; and it is put back first.
    return 2 if path == "boot.py" else path.split("/")[-1][:8] == "mqtt_ota"


def place(name, path):
    """Gives a file in the client's folder its name, and it a folder."""
    end = path.find("/")
    while end > 0:
        quietly(os.mkdir, root + "/" + path[:end])
        end = path.find("/", end + 1)
    if os.stat(state(name))[6]:
        os.rename(state(name), root + "/" + path)
    else:
        # LittleFS 1 tells a file by where its bytes are: a rename that is cut can lose one that has none.
        open(root + "/" + path, "wb").close()
        os.remove(state(name))


def _remove(path, depth):
    # And the folders that it leaves empty.
    quietly(os.remove, root + "/" + path)
    end = path.rfind("/")
    while end > depth:
        folder = root + "/" + path[:end]
        try:
            if not os.stat(folder)[0] & 0x4000:
                return  # it is a file by now, which LittleFS would remove as well
        except OSError:
            pass
        quietly(os.rmdir, folder)
        end = path.rfind("/", 0, end)


def finish():
    """Puts the files of the committed set in place; where that cannot be, takes all of them back.

    True if they are in place.
    """
    global _tried
    _tried = False
    try:
        for turn in range(6):
            for kind, number, _, path in lines("commit"):
                if 2 * _rank(path) + (kind != "-") == turn:
                    if kind == "-":
                        _remove(path, 0)
                    elif there(number):
                        place(number, path)
    except OSError as problem:
        note("not put in place: %s" % problem)
        os.rename(state("commit"), state("undo"))
        undo()
        return False
    for name in ("boots", "error", "back"):
        quietly(os.remove, state(name))
    os.rename(state("commit"), state("trial"))
    return True


def undo():
    """Puts the files back that were there before the set."""
    for turn in range(5, -1, -1):
        for kind, number, depth, path in lines("undo"):
            if 2 * _rank(path) + (kind == "+") == turn:
                quietly(os.remove, state(number))
                if kind == "+":
                    _remove(path, depth)
                elif there("k" + number):
                    quietly(place, "k" + number, path)
    quietly(os.remove, state("boots"))
    os.rename(state("undo"), state("back"))


def forget(name):
    """Removes the copies that a journal keeps: from here on it cannot be taken back."""
    for journal in ("drop", name):
        if there(journal):
            if journal == name:
                os.rename(state(name), state("drop"))
            for _, number, _, _ in lines("drop"):
                quietly(os.remove, state("k" + number))
            os.remove(state("drop"))


def alter():
    """A file is about to be changed by itself: what is installed is no longer a set."""
    if there("trial"):
        from mqtt_ota import Failed

        raise Failed("busy a set is on trial")
    forget("last")
    if there("set"):
        os.rename(state("set"), state("was"))


def confirm():
    """The set on trial works: it stays. True if there was one, and the board has booted it."""
    global _timer
    if _timer:
        _timer.deinit()
        _timer = None
    if not _tried or not there("trial"):
        return False
    os.rename(state("trial"), state("last"))
    quietly(os.remove, state("boots"))
    return True


def settle(announced, ms):
    """Confirms the set on trial, once the client has announced itself and has run for so long. True if it just has."""
    global _announced
    _announced = announced or _announced
    return _tried and confirms and _announced and ms >= confirm_after * 1000 and confirm()


def announcement():
    """What the client adds to its announcement: the hash of the set, and what became of the last one."""
    text = "set=%s|" % _hash()
    if there("trial"):
        text += "boots=%d|" % _boots()
    back = head("back")[0]
    if back:
        why = "not known: it could not be noted"
        try:
            with open(state("error"), "rb") as file:
                why = str(file.read(_LIMIT), "utf-8")
        except (OSError, ValueError):
            pass
        text += "rolled-back=%s|error=%s|" % (back, why)
    return text


def steps(ota, fields, what):
    """What the client does with an offer that is not a plain one."""
    import gc

    import mqtt_ota_set  # only now: most boots never need it

    gc.collect()  # so that what a transfer takes finds whole blocks
    return mqtt_ota_set.steps(ota, fields, what)


def _boots():
    try:
        return os.stat(state("boots"))[6]
    except OSError:
        return 0


def _hash():
    from hashlib import sha256
    from binascii import hexlify

    hasher = sha256()
    part = memoryview(bytearray(128))
    try:
        with open(state("set"), "rb") as file:
            while True:
                count = file.readinto(part)
                if not count:
                    return str(hexlify(hasher.digest()), "utf-8")
                hasher.update(part[:count])
    except OSError:
        return "-"


def error(text):
    """Notes why the set on trial does not work."""
    if there("trial"):
        note(text)


def note(text):
    """Notes why a set is taken back."""
    text = bytearray(text.encode()[:_LIMIT])
    for at, c in enumerate(text):
        if not 32 <= c < 127 or c == 124:  # what would end the field
            text[at] = 32
    try:
        with open(state("error"), "wb") as file:
            file.write(text)
    except OSError:
        pass  # a full disk does not keep a board from its reset


def run(name):
    """Runs the application; what it does not catch is noted, and resets a board whose set is on trial."""
    try:
        __import__(name)
    except Exception as problem:
        if not there("trial"):
            raise
        error("%s: %s" % (type(problem).__name__, problem))
        from machine import reset

        reset()


def boot(folder="", patience=120, reset=None):
    """Finishes or takes back what is unfinished. To be called before the application is imported.

    folder    the file system's root; on a board nothing. The client's has to be the same
    patience  seconds that a set on trial has to be confirmed in, before the board is reset
    reset     what reboots the device, machine.reset if nothing is given

    Raises nothing of its own: whatever is wrong with a set, what there is of an application has to run.
    """
    global root, _tried
    root = folder
    _tried = False
    try:
        changed = _recover()
        if not reset and (changed or _tried and patience):
            from machine import reset
        if changed:
            # What of boot.py follows this call, and this module, may be of the other set.
            reset()
        elif _tried and patience:
            _watch(patience * 1000, reset)
    except Exception as problem:
        print("mqtt_ota_boot:", problem)


def _recover():
    # True if files were changed.
    global _tried
    if there("undo"):
        undo()
        return True
    if there("commit"):
        finish()
        return True
    if there("trial"):
        count = most = max(head("trial")[1], 2)  # a set has one boot at least
        try:
            with open(state("boots"), "ab") as boots:
                boots.write(b".")
            count = _boots()
        except OSError:
            pass  # where nothing can be counted, the board must not be left to it for ever
        if count >= most:
            if not there("error"):
                note("not confirmed in %d boots" % most)
            os.rename(state("trial"), state("undo"))
            undo()
            return True
        _tried = True
    else:
        forget("plan")
    return False


def _watch(ms, reset):
    global _timer
    from machine import Timer

    try:
        _timer = Timer(-1)
    except ValueError:  # an ESP32 has real ones only
        _timer = Timer(0)
    _timer.init(mode=Timer.ONE_SHOT, period=ms, callback=lambda _: reset())
