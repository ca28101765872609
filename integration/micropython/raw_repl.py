"""A board's raw REPL on standard input and output, as far as mpremote uses it: the unix port has none before 1.27."""

import sys

_BANNER = "raw REPL; CTRL-B to exit\r\n>"


def run(code, names):
    try:
        exec(code, names)
        problem = None
    except BaseException as error:
        problem = error
    print("\x04", end="")
    if problem:
        sys.print_exception(problem)
    print("\x04>", end="")


def serve():
    names = {"__name__": "__main__"}
    raw, code = False, b""
    while True:
        byte = sys.stdin.buffer.read(1)
        if byte == b"\x01":
            raw, code = True, b""
            print(_BANNER, end="")
        elif byte == b"\x02":
            raw, code = False, b""
            print("\r\n>>> ", end="")
        elif not raw:
            pass
        elif byte == b"\x03":
            code = b""
        elif byte == b"\x04" and not code:
            names = {"__name__": "__main__"}
            print("OK\r\nMPY: soft reboot\r\n" + _BANNER, end="")
        elif byte == b"\x04":
            print("OK", end="")
            run(code, names)
            code = b""
        elif byte == b"\x05" and not code:
            sys.stdin.buffer.read(2)
            print("R\x00", end="")  # it has no raw paste mode
        elif byte:
            code += byte
        else:
            return
