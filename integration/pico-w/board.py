"""A Pico W without a board: the real firmware on an emulated RP2040 and radio, with its file system on an image.

    board.py IMAGE flash FOLDER     formats the image, and copies the folder's files to it
    board.py IMAGE boot UF2         turns the power on, and shows what the board prints and its seconds since then
        --after-reset               this is a reset of the board's own, and not the power
        --trace FILE                appends each change of the flash to the file
        --cut N [--torn]            cuts the power at the N-th change; torn, with half of it done
    board.py IMAGE cut TRACE N      makes the first N changes of a trace
        --torn                      and half of the one after them
    board.py IMAGE list             the size, the hash and the name of each file, a line each
    board.py IMAGE read FILE        writes the file, in hexadecimal, to standard output

What the board writes is in the image at once, so it may be killed at any time, which cuts its power. A reset ends the
process, and whoever started it starts it again. The board reaches the ports of this computer's loopback address at
10.0.0.1, its gateway, and nothing else.
"""

import argparse
import asyncio
import dataclasses
import hashlib
import os
import pathlib

import littlefs
from rp2040py.boards import resolve_board_spec
from rp2040py.device import MicroPythonDevice
from rp2040py.external.cyw43.chip import Cyw43439
from rp2040py.external.cyw43.nat import GATEWAY_IP, TcpReflector
from rp2040py.peripherals import ssi, watchdog
from rp2040py.utils.firmware_retrieve import MICROPYTHON

BLOCK = 4096  # bytes
BLOCKS = 212  # of the file system, in MicroPython 1.20 and later
FLASH = 2 << 20  # bytes, with the file system at their end
START = FLASH - BLOCKS * BLOCK
VERSION = 0x00020000  # of LittleFS on the disk, which the firmware's driver reads

# What the flash chip can be told to change, and how much of itself.
CHANGES = {ssi.CMD_SECTOR_ERASE: BLOCK, ssi.CMD_BLOCK_ERASE: 1 << 16, ssi.CMD_PAGE_PROGRAM: 0}


class Flash:
    """Watches the flash chip: each of its changes is in the image, and one of them can be the last."""

    def __init__(self, chip, memory, options):
        self.chip, self.memory, self.options = chip, memory, options
        self.image = open(options.image, "r+b", buffering=0)
        self.trace = open(options.trace, "ab", buffering=0) if options.trace else None
        self.changes = 0
        self.apply, chip._apply_command = chip._apply_command, self.command

    def command(self):
        """The chip has been told a whole command."""
        told = bytes(self.chip._tx_buffer)
        is_change = self.chip._write_enabled and len(told) > 3 and told[0] in CHANGES
        self.apply()
        if not is_change:
            return
        start, size = int.from_bytes(told[1:4], "big"), CHANGES[told[0]]
        start, size = (start & -size, size) if size else (start, len(told) - 4)
        after = bytes(self.memory[start : start + size])
        self.changes += 1
        is_last = self.changes == self.options.cut
        if is_last and self.options.torn:
            after = after[: size // 2]
        self.image.seek(start - START)
        self.image.write(after)
        if self.trace:
            kind = "program" if told[0] == ssi.CMD_PAGE_PROGRAM else "erase"
            self.trace.write(f"{kind} {start - START} {after.hex()}\n".encode())
        if is_last:
            leave("power cut")


class Console:
    """Prints what the board prints, a line at a time."""

    def __init__(self, clock):
        self.clock = clock
        self.line = bytearray()

    def __call__(self, data):
        self.line += data
        while b"\n" in self.line:
            line, _, self.line = self.line.partition(b"\n")
            self.say(line.decode("utf-8", "replace").rstrip("\r"))

    def say(self, text):
        print("%9.3f %s" % (self.clock.nanos / 1e9, text), flush=True)


def leave(why):
    """Ends at once, as the board does: this is called from the middle of one of its instructions."""
    console.say(why)
    os._exit(0)


async def connect(host, port):
    """Connects the board to this computer, and to no other."""
    if host != ".".join(map(str, GATEWAY_IP)):
        raise ConnectionRefusedError(host)
    return await asyncio.open_connection("127.0.0.1", port)


def build(options):
    """A board whose power is off."""
    global console
    if not os.path.isfile(options.uf2):
        raise SystemExit("no such file: " + options.uf2)
    radio = Cyw43439()
    spec = resolve_board_spec("pico_w", MICROPYTHON, options.uf2)
    device = MicroPythonDevice(board=dataclasses.replace(spec, extras=(lambda: radio,)), filesystem=options.image)
    bridge = radio.bus.nat_bridge
    bridge._tcp = TcpReflector(device.mcu, radio.bus.queue_rx_ethernet_frame, connect_fn=connect)
    bridge._udp.maybe_handle = lambda frame: True  # nobody answers
    console = device.cdc.on_serial_data = Console(device.simulator.clock)
    Flash(device.mcu.ssi, device.mcu.flash, options)
    if options.after_reset:  # by the watchdog, as each reset of an RP2040 by itself
        device.mcu.watchdog.on_watchdog_trigger = lambda: None
        device.mcu.watchdog.write_uint32(watchdog.CTRL, watchdog.TRIGGER)
    device.mcu.watchdog.on_watchdog_trigger = lambda: leave("reset")
    return device


async def boot(options):
    device = build(options)
    await device.astart(timeout=None)
    while device.simulator.executing:
        await asyncio.sleep(0.1)
    raise device.simulator.engine_room_error or SystemExit("the emulator has stopped")


def mount(image):
    disk = littlefs.LittleFS(block_size=BLOCK, block_count=BLOCKS, mount=False)
    disk.context.buffer = bytearray(pathlib.Path(image).read_bytes())
    disk.mount()
    return disk


def flash(options):
    disk = littlefs.LittleFS(block_size=BLOCK, block_count=BLOCKS, disk_version=VERSION)
    folder = pathlib.Path(options.folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = "/" + path.relative_to(folder).as_posix()
        disk.makedirs(os.path.dirname(name), exist_ok=True)
        with disk.open(name, "wb") as file:
            file.write(path.read_bytes())
    pathlib.Path(options.image).write_bytes(disk.context.buffer)


def cut(options):
    with open(options.trace, encoding="ascii") as trace, open(options.image, "r+b") as image:
        for number, line in enumerate(trace):
            _, start, data = line.split(" ")
            data = bytes.fromhex(data)
            if number == options.changes:
                data = data[: len(data) // 2 * options.torn]
            image.seek(int(start))
            image.write(data)
            if number == options.changes:
                break


def listed(options):
    disk = mount(options.image)
    for folder, _, names in disk.walk("/"):
        for name in names:
            path = folder.rstrip("/") + "/" + name
            with disk.open(path, "rb") as file:
                data = file.read()
            print(len(data), hashlib.sha1(data).hexdigest(), path[1:])


def read(options):
    with mount(options.image).open(options.file, "rb") as file:
        print(file.read().hex())


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    commands = parser.add_subparsers(required=True)
    for call, *arguments in (flash, "folder"), (boot, "uf2"), (cut, "trace", "changes"), (listed,), (read, "file"):
        command = commands.add_parser("list" if call is listed else call.__name__)
        command.set_defaults(call=call)
        for argument in arguments:
            command.add_argument(argument, type=int if argument == "changes" else str)
        if call in (boot, cut):
            command.add_argument("--torn", action="store_true")
        if call is boot:
            command.add_argument("--after-reset", action="store_true")
            command.add_argument("--trace")
            command.add_argument("--cut", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    result = options.call(options)
    if result:
        asyncio.run(result)
