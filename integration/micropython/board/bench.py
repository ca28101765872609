"""What a test does to a board's hardware: presses its button, takes its Wi-Fi away.

The test names a port as BENCH in settings.py, and writes lines such as `pin 0 0` to the connection.
"""

import _thread
import micropython
import socket

handlers = {}


def on(what, handler):
    """Has `handler` called with the number that follows `what` in a line."""
    handlers[what] = handler


def _handle(line):
    what, number = str(line, "utf-8").rsplit(" ", 1)
    handlers[what](int(number))


def _listen(port):
    sock = socket.socket()
    sock.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
    line = sock.readline()
    while line:
        micropython.schedule(_handle, line)  # as an interrupt does: in the application's own thread
        line = sock.readline()


try:
    from settings import BENCH
except Exception:  # such as a mistake that a test has made in it
    BENCH = None
if BENCH:
    _thread.start_new_thread(_listen, (BENCH,))
