"""Cuts the power at every block write of an update at boot, and of safe mode, and boots what is left.

    micropython -X heapsize=16m power_loss_back.py FILE_SYSTEM KIT [STORY] [--torn=N] [--every=N] [--second=N]

The arguments are those of power_loss_set.py, whose board this is. A STORY is what is cut:

    file   a file is offered, noted, and fetched at boot; the client says so
    set    the same with a set, which the client confirms
    row    the application dies three times, and the board is in safe mode
    mend   the client in safe mode takes a file that works, which is run
    sync   it takes a set that works, which is run and confirmed
    same   it is offered the file that is there, which is run
    trial  a set is put in place whose application dies, until it is taken back

From what a cut has left the board lives on: it boots as often as it resets itself, its application dies or runs,
the client announces itself. After an update at boot the sender is there, is gone, or the network is, in turn.
"""

import os
import sys

import power_loss_set
from cuts import ROOT, STATE, content, listed
from power_loss_set import Board, files_below, merged, name_of, option, read, with_folders, write
from resets import Reset, reset
from senders import Extended

COUNTED = (
    "operations",
    "clean cuts",
    "torn cuts",
    "second cuts",
    # Each cut has one of these outcomes.
    "old",
    "new",
    "mixed",
    "not mountable",
    "not bootable",
    # And any of these.
    "fetches",  # boots that began with an offer
    "recoveries",  # lives that began with a boot which changed something
    "recoveries cut",  # again
    "other files damaged",
    "litter",
    "not fetched",  # though the sender is there
    "fetched again",  # what was done, or told to have failed
    "not told",  # what became of it
    "miscounted",  # crashes
    "next update failed",
    "space lost",
)

BOOT = b"""import mqtt_ota_boot
import world
mqtt_ota_boot.boot("/flash", 0, **world.options())
"""


def application(what, number):
    """One of a few hundred bytes, which are not those of another."""
    return b"import world\n%s\n# %s\n" % (what, content("application %d" % number, 900))


WORKS = application(b"world.runs()", 1)
DIES = application(b"raise ValueError('it dies')", 2)
FAILS = application(b"raise OSError('it fails')", 3)  # of a set


class Done(KeyboardInterrupt):
    """The client in safe mode has nothing more to do."""


class Clock:
    """Each look at it is a second later."""

    def __init__(self):
        self.ms = 0

    def __call__(self):
        self.ms += 1000
        return self.ms


class Pause:
    """The time of safe mode, and of an application that dies again and again."""

    def __init__(self, world):
        self.world = world
        self.left = 20  # of the long ones, between two attempts

    def sleep(self, seconds):
        self.left -= seconds > 1
        if seconds < 1 and not self.world.offers or not self.left:
            raise Done


class Client:
    """An umqtt client of safe mode; its broker has what the world offers."""

    client_id = b"NIGHTLAMP"
    keepalive = 0

    def __init__(self, world):
        self.world = world
        self.cb = None

    def connect(self):
        self.sock = self.world.sender.listener  # which is never read

    def subscribe(self, topic, qos):
        pass

    def publish(self, topic, message, retain, qos):
        self.world.board.publish(topic, message, retain)

    def wait_msg(self):
        pass

    def check_msg(self):
        if self.world.offers:
            self.cb(b"NIGHTLAMP/OTA", self.world.offers.pop(0))


class Machine:
    """A board's own module, which knows that the power was cut."""

    PWRON_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 3, 4, 5
    cause = SOFT_RESET

    @classmethod
    def reset_cause(cls):
        return cls.cause


class World:
    """What is around a board; its boot.py and its application import it."""

    def __init__(self):
        self.sender = Extended()
        self.connects = False  # boot.py says how the network is joined
        self.state = "there"  # the sender; or it is "gone", or there is no network: "lost"
        self.fetches = 0  # boots that joined the network
        self.broken = False  # what an application needs that is at fault for nothing
        self.offers = []
        self.board = None
        self.cut = False  # the power was, before the next boot
        sys.modules["machine"] = Machine
        sys.modules["world"] = self

    def options(self):
        """Those of a boot, as it begins."""
        Machine.cause = Machine.PWRON_RESET if self.cut else Machine.SOFT_RESET
        self.cut = False
        return {"reset": reset, "connect": self.connect, "at_boot": True, "rate": 0} if self.connects else {"reset": reset}

    def runs(self):
        if self.broken:
            raise OSError("it is broken")

    def client(self):
        self.serves()
        return Client(self)

    def connect(self):
        self.fetches += 1
        if self.state == "lost":
            raise OSError("no network")
        self.serves()

    def serves(self):
        """Has the sender serve whenever the client waits for it."""
        import mqtt_ota

        self.sender.ends()
        mqtt_ota.Ota._wait = property(lambda ota: self.waits, self.keeps)
        if self.state == "gone":
            mqtt_ota.ticks_ms = Clock()

    def keeps(self, ota, wait):
        self.wait = wait

    def waits(self, ms):
        if self.state == "gone":
            if self.sender.accepts():
                self.sender.close()
            return
        if not self.sender.serves():
            self.wait(250)
        while self.sender.serves():
            pass

    def makes(self, call, *arguments):
        """The offer that one of the sender's methods makes, which is served from then on."""
        offers = []
        self.sender.answers = lambda ota, offer: offers.append(offer.encode())
        call(None, *arguments)
        del self.sender.answers
        return offers[0]


class Life(Board):
    """A board that boots, and runs its application, until there is nothing more to do."""

    def __init__(self, kind, world):
        super().__init__(kind)
        self.world, world.board = world, self
        self.begins()

    def begins(self):
        self.deaths = []  # after how many operations the application died
        self.told = []  # what was published, with the operations before that
        self.mends = None  # operations before the last time that files were put in place, or back
        self.found = None  # the files after the first boot
        self.first = 0  # crashes in a row then

    def publish(self, topic, message, retain):
        self.told.append((self.at(), str(topic, "utf-8").split("/")[-1], str(message, "utf-8")))

    def boots(self):
        if self.found is None:
            self.found = files_below()
            self.first = self.crashes()

    def lives(self):
        """Whether the application "runs", or the board is in "safe" mode; or it is "not mountable"."""
        for _ in range(9):
            if not self.start():
                return "not mountable"
            self.boots()
            boot = sys.modules["mqtt_ota_boot"]
            self.load, boot.load = boot.load, self.loads
            sys.modules.pop("app", None)
            try:
                boot.run("app", client=self.world.client)
                return "runs"
            except Done:
                return "safe"
            except Reset:
                if not boot.options.get("safe"):  # else an update is installed
                    self.deaths.append(self.at())
                    if boot.trial:
                        self.mends = self.at()  # the next boot may take the set back
        raise OSError("it resets itself again and again")

    def at(self):
        """How many operations there were, if they are recorded."""
        return len(self.disk.device.operations or ())

    def loads(self, name):
        module = self.load(name)
        if name == "mqtt_ota_safe":
            module.time = Pause(self.world)
            module.print = lambda *_: None
        elif name == "mqtt_ota_journal":
            self.mends = self.at()
        return module

    def announces(self):
        """{key: value} of it; a set is confirmed by that."""
        self.silent().announce()
        return dict([field.split("=", 1) for field in self.says("device")[-1].split("|")])

    def says(self, topic, before=1 << 30):
        """All messages on a topic, before so many operations were done."""
        return [message for at, name, message in self.told if name == topic and at <= before]

    def crashes(self):
        """How many there were in a row. It has to be mounted."""
        try:
            return len(read(ROOT + "/" + STATE + "/crashes"))
        except OSError:
            return 0


class Proof(power_loss_set.Proof):
    """What was found at all the cuts of one story after the other."""

    def __init__(self, kind, torn, second, every):
        self.splits = (0.5,) if torn == 1 else (0.25, 0.5, 0.75)
        self.second = second
        self.every = every
        self.world = World()
        self.board = Life(kind, self.world)
        boot = read(power_loss_set.kit + "/mqtt_ota_boot.mpy")
        self.others = {"boot.py": BOOT, "log.txt": content("log", 300), "lib/driver.py": content("driver", 1200)}
        self.first = {"app.py": WORKS, "mqtt_ota_boot.mpy": boot, "page.html": content("page", 400)}
        self.another = {
            "app.py": WORKS + b"# another\n",
            "lib/near.py": content("near", 700),
            "mqtt_ota_boot.mpy": read(power_loss_set.kit + "/mqtt_ota_boot.2.mpy"),
            "page.html": content("page", 400),
        }
        self.next = merged(self.another, {"app.py": WORKS + b"# the next\n", "next.py": content("next", 500)})
        self.free = {}

    # What the stories are.

    def prepare(self, app):
        """A board that has installed a set with this application, and has confirmed it."""
        board, world = self.board, self.world
        world.connects = world.broken = False
        board.disk.format()
        board.disk.boot()
        for path, data in merged(self.others, {"mqtt_ota_boot.mpy": self.first["mqtt_ota_boot.mpy"]}).items():
            write(path, data)
        self.old = merged(self.first, {"app.py": app})
        for files in (merged(self.old, {"page.html": b"before"}), self.old):
            board.start()
            if not board.syncs(world.sender, files):
                raise AssertionError(board.told)
        board.start()
        board.announces()

    def is_safe(self, app):
        """The same, whose application has died."""
        self.prepare(app)
        self.world.broken = True
        if self.board.lives() != "safe":
            raise AssertionError("it is not in safe mode")
        self.world.broken = False

    def notes(self):
        self.takes_offer()
        self.noted = self.board.at()

    def takes_offer(self):
        try:
            self.world.sender.answers(self.board.silent(), str(self.offer, "utf-8"))
        except Reset:
            return
        raise AssertionError(self.board.told)

    def fetches(self):
        self.board.start()
        self.notes()
        self.lives()

    def fails(self):
        self.board.start()
        self.takes_offer()
        self.lives()

    def lives(self):
        """What a board does by itself, with whatever is on its flash."""
        board, world = self.board, self.world
        if world.connects:
            self.end = "runs" if board.start() else "not mountable"
            if self.end == "runs":
                board.boots()
        else:
            world.offers = [self.offer] if self.story in ("mend", "sync", "same") else []
            self.end = board.lives()
            world.offers = []
        if self.end == "runs":
            self.keys = board.announces()

    STORIES = {
        # what it begins with, the application then, what is offered, what is done
        "file": (prepare, WORKS, "file", fetches),
        "set": (prepare, WORKS, "set", fetches),
        "row": (prepare, DIES, None, lives),
        "mend": (is_safe, DIES, "file", lives),
        "sync": (is_safe, DIES, "set", lives),
        "same": (is_safe, WORKS, "same", lives),
        "trial": (prepare, WORKS, "fails", fails),
    }

    def run(self, story):
        self.counts = {name: 0 for name in COUNTED}
        self.phase = self.story = story
        board, world, disk = self.board, self.world, self.board.disk
        begin, app, offered, action = self.STORIES[story]
        begin(self, app)
        sender = world.sender
        self.new = self.another
        self.offer = None
        if offered == "file":
            self.new = merged(self.old, {"app.py": self.another["app.py"]})
            self.offer = world.makes(sender.sends, "app.py", self.new["app.py"])
        elif offered == "same":
            self.new = self.old
            self.offer = world.makes(sender.sends, "app.py", self.old["app.py"])
        elif offered:
            if offered == "fails":
                self.new = merged(self.another, {"app.py": FAILS})
            self.offer = world.makes(sender.syncs, self.new)
        self.served, self.id = sender.items, sender.id
        world.connects = world.connect if story in ("file", "set") else False
        world.state = "there"
        self.noted = 0
        image = bytearray(disk.device.image)
        board.begins()
        operations = disk.recorded(lambda: action(self))
        done = bytearray(disk.device.image)
        self.counts["operations"] = len(operations)
        before = 3 if begin == Proof.is_safe else 0
        crash = "of before" if before else ""
        self.history = board.deaths, board.told, board.mends, before, crash
        self.count("clean cuts")
        self.look(len(operations), 0)
        at = -self.every
        for torn in disk.cuts(image, operations, self.splits, self.every):
            if not torn:
                at += self.every
            self.count("torn cuts" if torn else "clean cuts")
            self.look(at, 1)
        if image != done:
            raise AssertionError("what was recorded is not what was done")

    def look(self, at, cuts):
        """Lets the board live on with what a cut has left after so many operations, and judges that."""
        board, disk, world = self.board, self.board.disk, self.world
        left = bytearray(disk.device.image)
        world.fetches = 0
        world.cut = cuts > 0
        if world.connects:
            world.state = ("there", "gone", "lost")[(self.counts["old"] + self.counts["new"]) % 3]
        world.sender.items, world.sender.id = self.served, self.id
        try:
            disk.boot()
        except OSError:
            self.count("not mountable")
            return
        deaths, told, mends, before, crash = self.history
        past = len([mark for mark in deaths if mark <= at]), [line for line in told if line[0] <= at]
        counted = board.crashes()
        # As many as there were, or one more; or none, once the next application is put in place.
        if not (past[0] + before <= counted <= past[0] + before + 1 or not counted and mends is not None and at >= mends):
            self.tell("miscounted", (at, counted, past[0] + before))
        board.begins()
        disk.device.operations = []
        try:
            self.lives()
        except Exception as problem:
            self.tell("not bootable", (at, problem))
            return
        finally:
            operations, disk.device.operations = disk.device.operations, None
        if self.end == "not mountable":
            self.count("not mountable")
            return
        mends = board.mends
        if counted and not board.first:
            mends = 0  # its first boot has put files in place, or back
        told = [(0, name, message) for _, name, message in past[1]] + board.told
        life = board.deaths, told, mends, counted, crash
        if world.fetches:
            self.count("fetches")
        self.judge(at, cuts, past, counted)
        if operations and cuts < 2:
            self.count("recoveries")
            # Of a short story more of them: each has few operations.
            if self.second and self.counts["recoveries"] % min(self.second, self.counts["operations"] // 3) == 0:
                history, self.history = self.history, life
                self.count("recoveries cut")
                second = 0
                for torn in disk.cuts(left, operations, (0.5,)):
                    second += not torn
                    self.count("second cuts")
                    self.look(second - 1, 2)
                self.history = history

    def judge(self, at, cuts, past, counted):
        board, world = self.board, self.world
        found = board.found
        if {path: data for path, data in found.items() if path in self.others} != self.others:
            self.count("other files damaged")
        outcome = None
        for name, files in ("old", self.old), ("new", self.new):
            if found == with_folders(merged(self.others, files)):
                outcome = name
        if not outcome:
            self.tell("mixed", (at, sorted(found)))
            return
        self.count(outcome)
        if world.connects:
            self.judge_fetch(at, cuts, past, outcome)
            ends, last = ("runs",), outcome
        else:
            self.judge_crashes(at, cuts, past, counted, outcome)
            ends = ("safe",) if self.story == "row" else ("runs",)
            last = "old" if self.story in ("row", "trial") else "new"
        if self.end not in ends:
            self.tell("not bootable", (at, self.end, listed(STATE)))
            return
        if files_below() != with_folders(merged(self.others, self.old if last == "old" else self.new)):
            self.tell("mixed", (at, "in the end"))
            return
        self.go_on(at, last)

    def judge_fetch(self, at, cuts, past, outcome):
        board, world = self.board, self.world
        told = [line[2].split("|")[0] for line in past[1] + board.told if line[1] == "status"]
        told = [state for state in told if state != "receiving"]
        # Of what the life before a second cut has done, only what it has told is known.
        noted = world.fetches or cuts < 2 and self.noted and at >= self.noted
        if noted and (outcome == "new" or world.state != "there") or not noted and outcome == "new":
            if not told or told[-1] != ("installed" if outcome == "new" else "failed"):
                self.tell("not told", (at, outcome, world.state, told))
        elif noted and not told:
            self.tell("not told", (at, outcome, world.state))
        if noted and world.state == "there" and outcome == "old":
            self.tell("not fetched", (at, told))
        # It is done, whatever came of it.
        fetches = world.fetches
        operations = board.disk.recorded(board.start)
        if world.fetches > fetches or operations:
            self.tell("fetched again", (at, world.state, len(operations), listed(STATE)))

    def judge_crashes(self, at, cuts, past, counted, outcome):
        board = self.board
        dies = len(board.deaths)
        crash = (board.says("crash") or [line[2] for line in past[1] if line[1] == "crash"] or [self.history[4]])[-1]
        if self.story == "row":
            if dies != 3 - counted:
                self.tell("miscounted", (at, dies, counted))
            if "it dies" not in crash or not any("|safe=1" in message for message in board.says("device")):
                self.tell("not told", (at, crash))
        elif crash:
            self.tell("not told", (at, crash))
        elif self.story == "trial" and (outcome == "new" or past[0]):
            dies += past[0]
            if abs(dies - 2) > cuts:
                self.tell("miscounted", (at, dies))
            error = self.keys.get("error", "")
            if self.keys.get("rolled-back") != name_of(self.new) or dies and not error.startswith("OSError: it fails"):
                self.tell("not told", (at, dies, self.keys))

    def go_on(self, at, outcome):
        """A next update comes, and the client's folder has what it needs, and nothing else."""
        board, world = self.board, self.world
        world.state = "there"
        allowed = {"set", "was", "last"}
        if self.story == "trial":
            allowed |= {"back", "error"}
        left = [name for name in listed(STATE) if name not in allowed and name[0] != "k"]
        if self.story == "row":
            left.remove("crashes")
        # What the next update goes on with, or removes.
        resumes = [name for name in left if name in ("0", "l", "boots", "part", "part.of", "mqtt_ota_boot.mpy") or name[0] == "s"]
        if [name for name in left if name not in resumes]:
            self.tell("litter", (at, outcome, left))
        try:
            offer = world.makes(world.sender.syncs, self.next)
            if self.story == "row":
                world.offers = [offer]
            else:
                board.start()
                self.offer, offer = offer, self.offer
                self.takes_offer()
                self.offer, offer = offer, self.offer
            if world.connects:
                done = board.start()
            else:
                done = board.lives() == "runs"
            keys = board.announces()
            done = done and files_below() == with_folders(merged(self.others, self.next))
            done = done and keys["set"] == name_of(self.next) and "boots" not in keys
            left = [name for name in listed(STATE) if name not in ("set", "was", "last") and name[0] != "k"]
            free = os.statvfs(ROOT)[3]
        except Exception as problem:
            self.tell("next update failed", (at, problem, listed(STATE)))
            return
        if not done or left:
            self.tell("next update failed", (at, done, left, keys))
            return
        # How many pairs of blocks a folder has depends on what was done in it; one more is no loss.
        if self.free.setdefault((self.story, outcome), free) > free + 2:
            self.tell("space lost", (at, self.free[self.story, outcome], free, listed(STATE)))

    def line(self):
        return ", ".join(["%d %s" % (self.counts[name], name) for name in COUNTED])


def run():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    kind, power_loss_set.kit = arguments[:2]
    proof = Proof(kind, option("torn", 1), option("second", 0), option("every", 1))
    for story in arguments[2:] or ("file", "set", "row", "mend", "sync", "same", "trial"):
        proof.run(story)
        print("%s %s: %s" % (kind, story, proof.line()))


if __name__ == "__main__":
    run()
