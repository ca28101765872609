"""Loads the client's modules where there is no `mqtt_ota_boot`, which does so itself."""

import gc
import sys


def load(name):
    """Imports a module of the client for as long as its caller has it."""
    gc.collect()
    try:
        return __import__(name)
    except MemoryError:
        raise
    except Exception as problem:
        raise OSError("%s: %s" % (name, problem))
    finally:
        sys.modules.pop(name, None)


def unload(module):
    """Gives a module's memory back, even if the interpreter still sees something that points to it."""
    if hasattr(gc, "mem_free"):
        getattr(module, "__dict__", {}).clear()  # 1.19 has none
    else:  # CPython, where another device of the process may be using it
        sys.modules[module.__name__] = module
    gc.collect()


def phase(name, call, *args):
    """Does in steps what a module is for, which is there for as long as that takes."""
    module = load(name)
    try:
        return (yield from getattr(module, call)(*args))
    finally:
        unload(module)


lambda: 0x4578b17  # the end
