"""Cuts the power at every block write of what a board does with a set of files, and boots what is left.

    micropython -X heapsize=16m power_loss_set.py FILE_SYSTEM KIT [PHASE] [--torn=N] [--every=N] [--second=N] [--syncs=N]

The board has a boot.py, the client and an application on its flash; its boots are real ones: boot.py is
imported from there, and with it the client's own module, which is one of the files of the set. The others
are a changed one, one that stays, a new one, two in a new folder, of which one is empty, and one that goes. One that
was a file is a folder with one in it, and the reverse.

Every erase and every program of a PHASE is recorded, and the power lost at each, before it (clean), and
when a part of it has come about (torn). From what is left the board boots, as often as it resets itself;
it has to have the old set or the new one, wholly, and nothing else but what it had before; and it has to
take a next set, and boot that.

    install   the new set is offered, staged, committed, put in place
    trial     its first boot
    confirm   the client announces itself
    untried   two boots more, of which the last takes it back
    rollback  it was confirmed, and is taken back by an offer
    alone     it was confirmed, and a file of it is offered by itself
    plain     the same, by a plain offer

FILE_SYSTEM  lfs2-32, lfs2-256 (the program size, in bytes) or lfs1
KIT          a folder with the client's modules, compiled, and mqtt_ota_boot.2.mpy, which differs
--torn=N     how many torn cuts an operation has: 1 (at the half, if it is not told) or 3
--every=N    only every N-th operation is cut, for a quick look
--second=N   the power is lost again in the boots after a cut, at each operation of every N-th such boot
--syncs=N    instead: N sets after each other, each with random changes and cuts, twice in a row at times
--seed=N     of those changes
--full       instead: no cuts, but the set comes to flashes of all sizes, for most of which it is too much

Prints one line a phase with what was counted.
"""

import os
import random
import sys
from hashlib import sha256

from cuts import ROOT, STATE, Disk, content, listed
from resets import Reset, reset
from senders import Extended, Sender, hexadecimal, manifest

kit = ""

COUNTED = (
    "operations",
    "clean cuts",
    "torn cuts",
    "second cuts",
    # Each cut has one of these outcomes after the boot.
    "old",
    "new",
    "mixed",
    "not mountable",
    "not bootable",
    # And any of these.
    "resumed",  # the next offer was of the same set, and needed less of it
    "recoveries",  # boots that changed something
    "recoveries cut",  # again
    "other files damaged",
    "litter",
    "announced wrongly",
    "next sync failed",
    "space lost",
)


BOOT = b"""import mqtt_ota_boot
from resets import reset
mqtt_ota_boot.boot("/flash", 0, reset)
"""


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    folder = ROOT
    for part in path.split("/")[:-1]:
        folder += "/" + part
        try:
            os.mkdir(folder)
        except OSError:
            pass
    with open(ROOT + "/" + path, "wb") as file:
        file.write(data)


def files_below(folder=""):
    """{path: bytes} of all files and, with a slash at the end, folders; but the client's own."""
    found = {}
    for name, kind, *_ in os.ilistdir(ROOT + "/" + folder):
        path = folder + name
        if kind == 0x4000:
            if path != STATE:
                found[path + "/"] = b""
                found.update(files_below(path + "/"))
        else:
            found[path] = read(ROOT + "/" + path)
    return found


def with_folders(files):
    """What has to be found where there are these files, and no others."""
    found = dict(files)
    for path in files:
        for end in range(len(path)):
            if path[end] == "/":
                found[path[: end + 1]] = b""
    return found


class Board:
    """A device whose boots are real ones."""

    def __init__(self, kind):
        self.disk = Disk(kind)
        self.modules = {}
        self.published = []

    def start(self):
        """Boots as often as the board resets itself. False if it cannot be mounted."""
        for _ in range(4):
            try:
                self.disk.boot()
            except OSError:
                return False
            for name in list(sys.modules):
                if name[:8] == "mqtt_ota" or name == "boot":
                    del sys.modules[name]
            # Of the client's modules that alone is on its flash which a set replaces: none of the others is written.
            sys.path[:] = [ROOT, kit]
            try:
                __import__("boot")
                return True
            except Reset:
                pass
        raise OSError("it resets itself again and again")

    def client(self):
        """The client as the board's application has it; it announces itself, and so confirms a set."""
        ota = self.silent()
        self.published.clear()
        ota.announce()
        return ota

    def silent(self):
        """One that has not come as far as that."""
        import mqtt_ota

        return mqtt_ota.Ota("NIGHTLAMP", self.publish, ROOT, reset)

    def publish(self, topic, message, retain):
        self.published.append(str(message, "utf-8"))

    def announced(self, key):
        for field in self.published[-1].split("|"):
            if field.startswith(key + "="):
                return field[len(key) + 1 :]
        return None

    def syncs(self, sender, files, options=""):
        """Whether the board says that it installed the set, and resets itself."""
        ota = self.client()
        try:
            sender.syncs(ota, files, options)
        except Reset:
            return True
        return False


def name_of(files):
    return hexadecimal(sha256(manifest(files)[0]).digest())


class Proof:
    """What was found at all the cuts of one phase after the other."""

    def __init__(self, kind, torn, second, every):
        self.splits = (0.5,) if torn == 1 else (0.25, 0.5, 0.75)
        self.second = second
        self.every = every
        self.board = Board(kind)
        self.sender = Extended()
        self.plain = Sender()
        boot = read(kit + "/mqtt_ota_boot.mpy")
        self.others = {
            "boot.py": BOOT,
            "log.txt": content("log", 300),
            "lib/__init__.py": b"",
            "lib/driver.py": content("driver", 1200),
        }
        self.before = {"main.py": content("main 0", 1800), "settings.json": content("settings", 620)}
        self.old = {
            "gone/old.py": content("old", 900),
            "main.py": content("main 1", 1900),
            "mqtt_ota_boot.mpy": boot,
            "page/index.html": content("page", 400),
            "settings.json": content("settings", 620),
            "www": content("www", 500),
        }
        self.new = {
            "app/lib/__init__.py": b"",  # LittleFS 1 cannot tell it from the other one
            "app/lib/far.py": content("far", 1300),
            "main.py": content("main 2", 2100),
            "mqtt_ota_boot.mpy": read(kit + "/mqtt_ota_boot.2.mpy"),
            "near.py": content("near", 60),
            "page": content("page", 300),  # was a folder
            "settings.json": content("settings", 620),
            "www/index.html": content("www", 200),  # was a file
        }
        self.next = dict(self.new)
        self.next["main.py"] = content("main 3", 700)
        self.next["gone/new.py"] = content("a later one", 500)
        self.next["mqtt_ota_boot.mpy"] = boot
        self.alone = content("alone", 1000)
        self.free = {}
        self.images = {}

    # What the phases begin with.

    def prepare(self):
        """Brings the board to the old set, which has replaced one before it, and keeps that one's copies."""
        board = self.board
        board.disk.format()
        board.disk.boot()
        for path, data in self.others.items():
            write(path, data)
        write("mqtt_ota_boot.mpy", self.old["mqtt_ota_boot.mpy"])
        for files in (self.before, self.old):
            board.start()
            if not board.syncs(self.sender, files):
                raise AssertionError(board.published)
        board.start()
        board.client()
        self.keep("installed")

    def keep(self, name):
        self.images[name] = bytearray(self.board.disk.device.image)

    def install(self):
        ota = self.board.client()
        try:
            self.sender.syncs(ota, self.new, "|delete=set")
        except Reset:
            return
        raise AssertionError(self.board.published)

    def untried(self):
        self.board.start()
        self.board.silent()
        self.board.start()

    def rollback(self):
        ota = self.board.client()
        try:
            self.sender.rolls_back(ota, name_of(self.new))
        except Reset:
            return
        raise AssertionError(self.board.published)

    def take_alone(self):
        ota = self.board.client()
        try:
            self.sender.sends(ota, "main.py", self.alone)
        except Reset:
            return
        raise AssertionError(self.board.published)

    def take_plain(self):
        ota = self.board.client()
        try:
            self.plain.installs(ota, "main.py", self.alone)
        except Reset:
            return
        raise AssertionError(self.board.published)

    PHASES = {
        # what it begins with, what is done, and what there is in the end
        "install": ("installed", install, "new", True),
        "trial": ("applied", lambda self: self.board.start(), "new", False),
        "confirm": ("applied", lambda self: self.board.client(), "new", True),
        "untried": ("tried", untried, "old", False),
        "rollback": ("confirmed", rollback, "old", True),
        "alone": ("confirmed", take_alone, "alone", True),
        "plain": ("confirmed", take_plain, "alone", True),
    }

    def lead_to(self, name):
        """Makes the image that a phase begins with."""
        if name in self.images:
            return
        before, action = {
            "installed": (None, self.prepare),
            "applied": ("installed", self.install),
            "tried": ("applied", lambda: None),  # which is a boot
            "confirmed": ("applied", self.board.client),
        }[name]
        if before:
            self.lead_to(before)
            self.board.disk.device.image[:] = self.images[before]
            self.board.start()
        action()
        self.keep(name)

    # What is done with each.

    def run(self, phase):
        self.counts = {name: 0 for name in COUNTED}
        before, action, after, boots = self.PHASES[phase]
        self.phase = phase
        self.lead_to(before)
        disk = self.board.disk
        disk.device.image[:] = self.images[before]
        if boots:
            self.board.start()
        image = bytearray(disk.device.image)
        operations = disk.recorded(lambda: action(self))
        done = bytearray(disk.device.image)
        self.counts["operations"] = len(operations)
        self.count("clean cuts")
        if self.look() != after:
            raise AssertionError("without a cut it does not end with the %s set" % after)
        for torn in disk.cuts(image, operations, self.splits, self.every):
            self.count("torn cuts" if torn else "clean cuts")
            self.look()
        if image != done:
            raise AssertionError("what was recorded is not what was done")

    def count(self, name):
        self.counts[name] += 1

    def look(self, again=False):
        """Boots what a cut has left, and counts what there is; returns what that is."""
        disk = self.board.disk
        left = bytearray(disk.device.image)
        disk.device.operations = []
        try:
            mounted = self.board.start()
        except Exception as problem:
            self.tell("not bootable", problem)
            return None
        finally:
            operations, disk.device.operations = disk.device.operations, None
        if not mounted:
            self.count("not mountable")
            return None
        outcome = self.outcome()
        if operations and not again:
            self.count("recoveries")
            if self.second and self.counts["recoveries"] % self.second == 0:
                self.cut_again(left, operations)
        return outcome

    def cut_again(self, left, operations):
        disk = self.board.disk
        self.count("recoveries cut")
        for _ in disk.cuts(left, operations, (0.5,)):
            self.count("second cuts")
            self.look(True)

    def tell(self, name, detail):
        if not self.counts[name]:
            print(self.phase, name, detail)
        self.count(name)

    def outcome(self):
        found = files_below()
        others = {path: data for path, data in found.items() if path in self.others}
        if others != self.others:
            self.count("other files damaged")
        outcome = None
        sets = {"old": self.old, "new": self.new}
        if self.phase in ("alone", "plain"):
            sets["alone"] = dict(self.new)
            sets["alone"]["main.py"] = self.alone
        for name, files in sets.items():
            wanted = with_folders(merged(self.others, files))
            if all(found.get(path) == data for path, data in files.items()) and not any(
                path in found for path in self.old if path not in files
            ):
                if set(found) != set(wanted):
                    self.tell("litter", [path for path in found if path not in wanted])
                outcome = name
        if not outcome:
            self.tell("mixed", [path for path, data in found.items() if data != self.new.get(path)])
            return None
        self.count("new" if outcome == "alone" else outcome)
        self.go_on(outcome, sets[outcome])
        return outcome

    def go_on(self, outcome, files):
        """The set that is on trial is confirmed, or is not; and a next one comes."""
        board = self.board
        try:
            if self.phase == "untried":
                for _ in range(2):
                    board.start()
                outcome, files = "old", self.old
            ota = board.client()
            name = board.announced("set")
            if name != ("-" if outcome == "alone" else name_of(files)) and (outcome, name) != ("new", "-"):
                self.tell("announced wrongly", board.published)
            if outcome == "new" and name == "-" and self.phase not in ("alone", "plain"):
                self.tell("announced wrongly", board.published)
            if outcome == "old" and self.phase == "untried" and board.announced("rolled-back") != name_of(self.new):
                self.tell("announced wrongly", board.published)
            # The same set again, which resumes, or another, which does not.
            target = self.new if outcome == "old" and self.counts["old"] % 2 else self.next
            try:
                self.sender.syncs(ota, target, "|delete=set")
                done = False
            except Reset:
                done = True
            if target is self.new and len(self.sender.requests) != 2:
                self.count("resumed")
            done = board.start() and done
            board.client()
            done = done and files_below() == with_folders(merged(self.others, target))
            done = done and board.announced("set") == name_of(target)
            done = done and self.state_of(outcome, target, name != "-")
            free = os.statvfs(ROOT)[3]
        except Exception as problem:
            self.tell("next sync failed", (problem, board.published))
            return
        if not done:
            self.tell("next sync failed", (board.published, listed(STATE), sorted(files_below())))
            return
        key = outcome, target is self.new
        # How many pairs of blocks a folder has depends on what was done in it; one more is no loss.
        if self.free.setdefault(key, free) > free + 2:
            self.tell("space lost", (key, self.free[key], free, listed(STATE)))

    def state_of(self, outcome, target, named):
        """Whether the client's folder has what it needs, and nothing else."""
        names = listed(STATE)
        left = [name for name in names if name not in ("set", "was", "last") and name[0] != "k"]
        if target is self.new:
            kept = 6  # the same, and what is gone
        elif outcome == "old":
            kept = 5
        else:
            kept = 2 + named  # main.py and the client's, and the manifest, where there was one
        copies = []
        for name in names:
            if name[0] == "k":
                copies += listed(STATE + "/" + name) or [name]
        return not left and len(copies) == kept

    def line(self):
        return ", ".join(["%d %s" % (self.counts[name], name) for name in COUNTED])


def merged(*many):
    result = {}
    for one in many:
        result.update(one)
    return result


class Full:
    """Flashes that have ever fewer free blocks for a set."""

    def __init__(self, proof):
        self.proof = proof

    def run(self):
        proof = self.proof
        board = proof.board
        proof.prepare()
        image = bytearray(board.disk.device.image)
        installed = without = mixed = 0
        most = os.statvfs(ROOT)[3]
        reasons = {}
        for fill in range(most + 1):
            board.disk.device.image[:] = image
            board.start()
            ota = board.client()
            size = fill * 4096
            with open(ROOT + "/filler", "wb") as file:
                try:
                    while size > 0:
                        file.write(bytes(min(size, 1024)))
                        size -= 1024
                except OSError:
                    pass
            try:
                status = proof.sender.syncs(ota, proof.new, "|delete=set")[-1]
            except Reset:
                status = "installed"
            board.start()
            board.client()
            found = files_below()
            filler = {"filler": found.pop("filler", b"")}
            others = merged(proof.others, filler)
            found.update(filler)
            if status == "installed":
                installed += 1
                wanted = proof.new
            else:
                words = status.split("|")[3].split(" ")
                # Where the manifest has no room, nobody knows yet how much is needed.
                if words[0] != "no-space" or "needed," not in words:
                    reasons[status.split("|")[3]] = fill
                without += 1
                wanted = proof.old
            if found != with_folders(merged(others, wanted)):
                mixed += 1
        print("%d flashes, %d installed, %d without space, %d mixed, other reasons: %s" % (most + 1, installed, without, mixed, reasons))


class Random:
    """Many sets after each other on one board, each with its power cut somewhere."""

    def __init__(self, proof, seed):
        self.proof = proof
        random.seed(seed)

    def change(self, files):
        files = dict(files)
        for _ in range(random.randint(1, 4)):
            path = "%sf%d.py" % (random.choice(("", "", "lib/", "app/", "app/deep/")), random.randint(0, 9))
            if random.randint(0, 3):
                files[path] = content("%d" % random.getrandbits(30), random.choice((0, 40, 300, 1500, 5000)))
            else:
                files.pop(path, None)
        if random.randint(0, 3) == 0:
            edition = random.choice(("mqtt_ota_boot.mpy", "mqtt_ota_boot.2.mpy"))
            files["mqtt_ota_boot.mpy"] = read(kit + "/" + edition)
        return files

    def cut(self, image, operations):
        """Leaves a random part of the operations on the flash."""
        flash = self.proof.board.disk.device.image
        flash[:] = image
        at = random.randint(0, len(operations) - 1)
        for start, data in operations[:at]:
            flash[start : start + len(data)] = data
        start, data = operations[at]
        part = random.randint(0, len(data) - 1)
        flash[start : start + part] = data[:part]

    def run(self, number):
        board, sender = self.proof.board, self.proof.sender
        self.proof.prepare()
        device = board.disk.device
        cuts = twice = back = 0
        files = self.proof.old
        other = self.proof.others
        for turn in range(number):
            wanted = self.change(files)
            again = random.randint(0, 2)  # cuts of this one
            confirms = random.randint(0, 5) > 0
            while True:
                board.start()
                ota = board.client()
                image = bytearray(device.image)
                statuses = []

                def sync():
                    try:
                        statuses.extend(sender.syncs(ota, wanted, "|delete=set"))
                    except Reset:
                        statuses.append("reset")

                operations = board.disk.recorded(sync)
                if not again or not operations:
                    break
                again -= 1
                self.cut(image, operations)
                cuts += 1
                if random.randint(0, 1):
                    image = bytearray(device.image)
                    operations = board.disk.recorded(board.start)
                    if operations:
                        self.cut(image, operations)
                        twice += 1
                board.start()
                found = files_below()
                if found not in (with_folders(merged(other, files)), with_folders(merged(other, wanted))):
                    raise AssertionError("turn %d: mixed after a cut" % turn)
            if statuses[-1] != "reset" and not statuses[-1].endswith("|unchanged"):
                raise AssertionError("turn %d: %s" % (turn, statuses))
            if confirms or statuses[-1] != "reset":
                board.start()
                board.client()
                files = wanted
            else:
                for _ in range(3):
                    board.start()
                board.client()
                back += 1
            if files_below() != with_folders(merged(other, files)):
                raise AssertionError("turn %d: not what was wanted" % turn)
            if board.announced("set") != name_of(files):
                raise AssertionError("turn %d: %s" % (turn, board.published))
            kept = [name for name in listed(STATE) if name not in ("set", "was", "last", "back", "error")]
            if len(kept) > len(files) + 10 or [name for name in kept if name[0] != "k"]:
                raise AssertionError("turn %d: %s is left" % (turn, kept))
        free = os.statvfs(ROOT)[3]
        print(
            "%d syncs, %d cuts, %d second cuts, %d taken back, %d files in the end, %d blocks free"
            % (number, cuts, twice, back, len(files), free)
        )


def option(name, otherwise):
    for argument in sys.argv:
        if argument.startswith("--%s=" % name):
            return int(argument.split("=")[1])
    return otherwise


def run():
    global kit
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    kind, kit = arguments[:2]
    proof = Proof(kind, option("torn", 1), option("second", 0), option("every", 1))
    if option("syncs", 0):
        Random(proof, option("seed", 1)).run(option("syncs", 0))
        return
    if "--full" in sys.argv:
        Full(proof).run()
        return
    for phase in arguments[2:] or ("install", "trial", "confirm", "untried", "rollback", "alone", "plain"):
        proof.run(phase)
        print("%s %s: %s" % (kind, phase, proof.line()))


if __name__ == "__main__":
    run()
