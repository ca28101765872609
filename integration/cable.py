"""Runs a command at the far end of a terminal, as a board on its cable, and prints the near end's path.

    python3 cable.py COMMAND…
"""

import os
import pty
import sys
import tty

far, near = pty.openpty()
tty.setraw(near)
print(os.ttyname(near), flush=True)
os.set_inheritable(near, True)  # kept open, as a cable that stays plugged in
os.dup2(far, 0)
os.dup2(far, 1)
os.execvp(sys.argv[1], sys.argv[1:])
