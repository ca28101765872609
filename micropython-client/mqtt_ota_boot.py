"""What a board does before its application begins, at the top of its boot.py:

    try:
        import mqtt_ota_boot
        mqtt_ota_boot.boot()
    except Exception as problem:
        print(problem)

Whatever cut the power, the board comes through here: what was being put in place is finished, a set that does not
work is taken back. Most boots find nothing to do, so this module only looks, and loads others when it has to.
`mqtt_ota_journal` tells what lies in the client's folder.
"""

import gc
import os
import sys

try:
    from micropython import const
except ImportError:
    from mqtt_ota_python import const

_SMALL = const(65536)  # bytes of a small heap

small = hasattr(gc, "mem_free") and gc.mem_free() + gc.mem_alloc() < _SMALL
tidy = gc.collect if small else int  # so that what comes next finds whole blocks; a large heap takes too long for that
root = ""
options = {}  # what boot() was given besides
later = False  # the next boot can do what does not fit into the heap
confirms = True  # the client by itself, once it has announced itself; or else the application calls confirm()
sets = True  # the modules for sets could be loaded, as far as is known
trial = None  # mqtt_ota_trial, in a boot of a set on trial
settle = None  # settle(told, ms) confirms that set, once the client has announced itself and has run for so long


def state(name):
    return root + "/.mqtt-ota/" + name


def there(name):
    """Whether there is such a file in the client's folder."""
    try:
        os.stat(state(name))
        return True
    except OSError:
        return False


def read(name):
    """The first line of a file in the client's folder, or nothing."""
    try:
        with open(state(name), "rb") as file:
            return str(file.readline(), "utf-8").strip()
    except (OSError, ValueError):
        return ""


def quietly(call, *paths):
    """Does what may have been done already."""
    try:
        call(*paths)
    except OSError:
        pass


def half(name):
    """Whether only a part of a module has been copied to the board."""
    for folder in sys.path:
        for end in (".py", ".mpy"):
            path = (folder and folder + "/") + name + end
            try:
                with open(path, "rb") as file:
                    file.seek(max(os.stat(path)[6] - 24, 0))
                    end = file.read(24)
                # What the last line of each module is compiled to, or has.
                return end.find(b"\xa2\xde\x96\x17") < 0 > end.find(b"0x4578b17")
            except OSError:
                pass


def load(name):
    """Imports a module of the client for as long as its caller has it. An OSError tells what is wrong with it."""
    global sets
    tidy()
    try:
        if half(name):  # its import might never end
            raise ImportError("only a part of it is there")
        module = __import__(name)
    except MemoryError:
        raise
    except Exception as problem:
        sets = False
        raise OSError("%s: %s" % (name, problem))
    finally:
        sys.modules.pop(name, None)
    tidy()
    return module


def unload(module):
    """Gives a module's memory back, even if the interpreter still sees something that points to it."""
    if hasattr(gc, "mem_free"):
        getattr(module, "__dict__", {}).clear()  # 1.19 has none
    else:  # CPython, where another device of the process may be using it
        sys.modules[module.__name__] = module
    tidy()


def phase(name, call, *args):
    """Does in steps what a module is for, which is there for as long as that takes."""
    module = load(name)
    try:
        return (yield from getattr(module, call)(*args))
    finally:
        unload(module)


def restart():
    """Reboots the board."""
    reset = options.get("reset")
    if not reset:
        from machine import reset
    reset()


def confirm():
    """The set on trial works: it stays. True if there was one, and the board has booted it."""
    return bool(trial) and trial.confirm()


def run(name, **more):
    """Runs the application, and sees to it that the board comes back when that dies.

    name     of its module: `app`, in main.py; or `main`, at the end of boot.py
    connect  joins the network; may raise
    client   returns an umqtt client, which is not connected yet
    device   the device's name; the client's id if nothing is given

    What kills it is noted, told to whoever sends to the device, and the board is reset. After the third time in a
    row the board runs Wi-Fi, MQTT and this client alone, until an update comes. A row ends with ten minutes of running.
    The other options are those of boot().
    """
    options.update(more)
    try:
        runs = load("mqtt_ota_run").run
    except Exception as problem:  # such as one that is half there: the application has to run
        print("mqtt_ota_boot:", problem)
        runs = __import__
    runs(name)


def boot(folder="", patience=120, reset=None, **more):
    """Finishes or takes back what is unfinished. To be called before the application is imported.

    folder         the file system's root; on a board nothing. The client's has to be the same
    patience       seconds that a set on trial has to be confirmed in, before the board is reset
    reset          what reboots the device, machine.reset if nothing is given
    connect        joins the network, for what is fetched at boot; may raise
    at_boot        True: everything is fetched at boot, not only what the heap is too small for
    confirm_after  seconds that the application has to run before a set is confirmed
    offline        in which boot without a network a set is taken back; 10 if nothing is given
    timer          the number of the timer that resets a board on trial; "wdt": an ESP32's watchdog does

    Other options are those of attach(). Raises nothing of its own: whatever is wrong with a set, what there is of an
    application has to run.
    """
    global root, options, later, trial, settle
    root = folder
    options = more
    options["reset"] = reset
    later = "connect" in more
    trial = settle = None
    try:
        for name in "undo", "commit", "trial", "drop", "plan", "offer":
            if there(name):
                module = load("mqtt_ota_resume")
                try:
                    module.resume(name, patience)
                finally:
                    unload(module)
                break
    except Exception as problem:
        print("mqtt_ota_boot:", problem)


lambda: 0x4578b17  # the end
