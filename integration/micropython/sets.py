"""What the client does with sets of files, and what it refuses: each function that begins with `a_` is a test.

    micropython sets.py FOLDER [TEST...]    or python3; the folder's content is removed
    micropython -X heapsize=16m sets.py fat [TEST...]    on a FAT file system in memory

The sender is in this process. A board's boot is that the client's modules are loaded anew, and that
mqtt_ota_boot.boot() is called. Prints a line for each test that fails, and how many did.
"""

import os
import sys
from hashlib import sha256

from resets import Reset, reset
from senders import Extended, Sender, hexadecimal, manifest

if sys.implementation.name == "micropython":
    import builtins

    # Boards before 1.25 have it without a default.
    builtins.next = lambda iterator, _next=next: _next(iterator)

FAT = sys.argv[1] == "fat"  # a file system that knows no case, on a card in memory
if FAT:
    from cuts import ROOT, Disk

    disk = Disk("fat-sd")
    disk.format()
    disk.boot()
else:
    ROOT = sys.argv[1]
HASH = "0" * 64
FOLDER = 0x4000


class Clock:
    """Each look at it is a second and a half later."""

    def __init__(self):
        self.ms = 0

    def __call__(self):
        self.ms += 1500
        return self.ms


class Os:
    """An `os` of which a function is another one."""

    def __init__(self, **functions):
        for name in functions:
            setattr(self, name, functions[name])

    def __getattr__(self, name):
        return getattr(os, name)


def entries(folder):
    # The name of each entry, and whether it is a folder. FAT takes no two slashes in a row.
    while folder[-1] == "/":
        folder = folder[:-1]
    return [(name, os.stat(folder + "/" + name)[0] & FOLDER) for name in sorted(os.listdir(folder))]


def tree(folder="", own=False):
    """{path: bytes} of all files, and None for a folder; the client's own folder only if it is asked for."""
    found = {}
    for name, is_folder in entries(ROOT + "/" + folder):
        path = folder + name
        if is_folder:
            if own or path != ".mqtt-ota":
                found[path] = None
                found.update(tree(path + "/", own))
        else:
            with open(ROOT + "/" + path, "rb") as file:
                found[path] = file.read()
    return found


def clear(folder):
    for name, is_folder in entries(folder):
        path = folder + "/" + name
        if is_folder:
            clear(path)
            os.rmdir(path)
        else:
            os.remove(path)


def write(path, data):
    at = path.find("/")
    while at > 0:
        try:
            os.mkdir(ROOT + "/" + path[:at])
        except OSError:
            pass
        at = path.find("/", at + 1)
    with open(ROOT + "/" + path, "wb") as file:
        file.write(data)


def name_of(files):
    return hexadecimal(sha256(manifest(files)[0]).digest())


def unload():
    """Has the client's modules imported anew, as after a reset."""
    for name in list(sys.modules):
        if name[:8] == "mqtt_ota":
            del sys.modules[name]


class Board:
    """A device with a folder as its flash, and who sends to it."""

    def __init__(self, files=()):
        clear(ROOT)
        for path in files:
            write(path, files[path])
        self.sender = Extended()
        self.plain = Sender()
        self.published = []
        self.replaced = {}  # {module: {name: value}}
        self.failing = {}  # {module: what its import raises}
        self.options = {}  # of its boots
        self.small = None  # whether its heap is, where that is not what it is
        self.boot()

    def boot(self, confirms=True, resets=reset, announces=True, patience=0, **options):
        """As often as it resets itself; returns how often that was."""
        count = 0
        while True:
            unload()
            import mqtt_ota_boot

            self.module = mqtt_ota_boot
            self.load, mqtt_ota_boot.load = mqtt_ota_boot.load, self.loads
            if self.small is not None:
                mqtt_ota_boot.small = self.small
            try:
                mqtt_ota_boot.boot(ROOT, patience, resets, **options)
                break
            except Reset:
                count += 1
                if count > 20:
                    raise AssertionError("it resets itself again and again")
        import mqtt_ota

        mqtt_ota_boot.confirms = confirms
        self.client = mqtt_ota
        mqtt_ota.ticks_ms = Clock()
        self.ota = mqtt_ota.Ota("X", self.publish, ROOT, reset, rate=0)  # by that clock all are slow
        self.replaced["mqtt_ota_transfer"] = {"ticks_ms": mqtt_ota.ticks_ms, "sleep_ms": lambda ms: None}
        if announces:
            self.announce()
        return count

    def loads(self, name):
        """The client's own load, but that what a module uses can be replaced."""
        if name in self.failing:
            raise self.failing[name]
        module = self.load(name)
        for attribute, value in self.replaced.get(name, {}).items():
            setattr(module, attribute, value)
        return module

    def publish(self, topic, message, retain):
        self.published.append(str(message, "utf-8"))

    def announce(self):
        """{key: value} of it."""
        self.published.clear()
        self.ota.announce()
        return dict([field.split("=", 1) for field in self.published[-1].split("|")])

    def hears(self, offer):
        """The last status, and whether the board resets itself."""
        statuses = []
        try:
            for status in self.sender.statuses(self.ota, offer):
                statuses.append(status)
        except Reset:
            return statuses[-1] + " and resets"
        return statuses[-1]

    def last(self, call, *arguments, **options):
        # The sender's methods return only where the board does not reset itself.
        statuses = []
        self.sender.answers = lambda ota, offer: statuses.append(self.hears(offer))
        call(self.ota, *arguments, **options)
        return statuses[0]

    def syncs(self, files, options="", **more):
        return self.last(self.sender.syncs, files, options, **more)

    def sends(self, path, file):
        return self.last(self.sender.sends, path, file)

    def rolls_back(self, digest):
        return self.last(self.sender.rolls_back, digest)

    def installs(self, path, file):
        try:
            return self.plain.installs(self.ota, path, file)
        except Reset:
            return True

    def puts(self, files, options=""):
        """Installs a set, boots it and has it confirmed."""
        is_status(self.syncs(files, options), "installed|set|%s| and resets" % name_of(files))
        self.boot()
        equal(self.announce()["set"], name_of(files))

    def error(self, text):
        """The application has died of this."""
        if self.module.there("trial"):
            self.module.load("mqtt_ota_recover").note(text)

    def state(self):
        return sorted(os.listdir(ROOT + "/.mqtt-ota"))


def equal(got, wanted):
    if got != wanted:
        raise AssertionError("%r, wanted %r" % (got, wanted))


def is_status(status, begin):
    if not status.startswith(begin):
        raise AssertionError("%r, wanted %r" % (status, begin))


def refused(board, status, reason):
    is_status(status.replace(status.split("|")[2], "HASH"), "failed|set|HASH|" + reason)
    if "resets" in status:
        raise AssertionError(status)


OLD = {"boot.py": b"mqtt_ota_boot", "main.py": b"old", "lib/a.py": b"a", "data.txt": b"mine"}
NEW = {"main.py": b"new", "lib/b.py": b"b" * 5000, "empty": b"", "x/y/z.py": b"z" * 700}


def line(path, data=b"", digest=None, size=None):
    digest = digest or hexadecimal(sha256(data).digest())
    size = str(len(data)) if size is None else size
    return ("%s %s %s\n" % (digest, size, path)).encode()


def a_set_is_installed_and_confirmed():
    board = Board(OLD)
    is_status(board.syncs(NEW), "installed|set|%s| and resets" % name_of(NEW))
    equal(board.sender.requests, ["0- 0"])
    equal(board.boot(confirms=False), 0)
    equal(board.announce()["boots"], "1")
    board.module.confirm()
    said = board.announce()
    equal((said["set"], "boots" in said), (name_of(NEW), False))
    equal({path: data for path, data in tree().items() if data is not None}, both(OLD, NEW))
    equal(board.state(), ["ks0", "last", "set"])


def both(one, other):
    one = dict(one)
    one.update(other)
    return one


def a_set_that_is_there_costs_nothing():
    board = Board(OLD)
    board.puts(NEW)
    before = tree(own=True)
    is_status(board.syncs(NEW, "|delete=set"), "installed|set|%s|unchanged" % name_of(NEW))
    equal((board.sender.requests, tree(own=True)), ([], before))


def a_file_that_an_application_changed_is_put_right():
    board = Board(OLD)
    board.puts(NEW)
    write("main.py", b"changed")
    is_status(board.syncs(NEW), "installed|set|%s| and resets" % name_of(NEW))
    board.boot()
    equal((tree()["main.py"], board.announce()["set"]), (b"new", name_of(NEW)))


def a_manifest_that_the_protocol_forbids_is_refused():
    board = Board(OLD)
    before = tree()
    a, b = line("a"), line("b")
    many = b"".join([line("f%04d" % number) for number in range(1001)])
    manifests = [b + a, a + a, a + b[:-1], b"\n", a + b"\n", b" " * 5000 + b"\n", b"x" * 60000, b"\0\n", many]
    for path in ("../x", "/x", "a/../b", "a//b", "a/", "./a", ".", "..", "a|b", "a\\b", "a\x01", "a\r", "\x7f", ""):
        manifests.append(line(path))
    for path in (".mqtt-ota/set", ".MQTT-ota/commit", ".mqtt-ota", "x" * 129, "\x85", "é" * 65):
        manifests.append(line(path))
    manifests.append(line("a", digest="0" * 40))
    manifests.append(line("a", digest="0" * 63 + "G"))
    manifests.append(line("a", digest="F" * 64))
    for size in ("-1", "+1", "1_0", "", "0x1", "1.0", "9" * 16, "٣", " "):
        manifests.append(line("a", size=size))
    manifests.append(line("a") + line("a.b") + line("a/b"))
    manifests.append(line("a") + line("a.b") + line("a.b.c") + line("a.c") + line("a/b/c"))
    manifests.append(b"%s 0 \xff\xfe\n" % HASH.encode())
    for text in manifests:
        refused(board, board.syncs({}, text=text), "bad-offer manifest")
        equal((tree(), [name for name in board.state() if name != "part.of"]), (before, []))
    board.puts(NEW)


def a_manifest_that_is_too_long_is_not_asked_for():
    board = Board(OLD)
    refused(board, board.syncs(NEW, size=131073), "bad-offer manifest")
    equal(board.sender.requests, [])


def a_size_that_lies_is_found_out():
    board = Board(OLD)
    before = tree()
    size = len(manifest(NEW)[0])
    refused(board, board.syncs(NEW, size=size - 1), "hash-mismatch of item 0")
    refused(board, board.syncs(NEW, size=0), "hash-mismatch of item 0")
    refused(board, board.syncs(NEW, size=size + 1), "hash-mismatch of item 0")
    for lie in (-1, 1):
        text = b""
        for path in sorted(NEW):
            text += line(path, NEW[path], size=str(max(len(NEW[path]) + lie * (path == "lib/b.py"), 0)))
        refused(board, board.syncs(NEW, text=text), "hash-mismatch of item 2")
    equal(tree(), before)
    board.puts(NEW)


def a_name_that_is_a_folder_or_below_a_file_is_refused_before_anything_is_fetched():
    board = Board(OLD)
    before = tree()
    for path in ("lib", "main.py/x", "main.py/x/y", "lib/a.py/b/c"):
        files = {path: b"1", "zzz": b"2"}
        refused(board, board.syncs(files, "|delete=set"), "bad-name ")
        # The second time there is a manifest already, and the next one alone is asked for.
        equal((tree(), board.sender.requests), (before, ["0- 0" if path == "lib" else "0-0 0"]))
    is_status(board.sends("lib", b"1"), "failed|lib|%s|bad-name" % hexadecimal(sha256(b"1").digest()))
    board.puts(NEW)


def an_option_that_cannot_be_read_is_refused():
    board = Board(OLD)
    good = ["127.0.0.1", "1", "set", HASH, "1", "id=0123456789abcdef", "size=1", "set=1"]
    for at, wrong in (
        (5, "x"), (5, "id=0123456789ABCDEF"), (5, "id=0123"), (5, "id="), (6, "x"), (6, "size=-1"), (6, "size="),
        (6, "size=1e3"), (7, "set=2"), (7, "dry=x"), (7, "set=1|trial=0"), (7, "set=1|trial=1000"), (7, "set=1|trial="),
        (7, "set=1|delete=some"), (7, "set=1|delete="), (4, "2"), (4, ""), (3, "0"), (2, "../x"), (1, "0"), (0, ""),
        (7, "rollback=2"), (6, "size=" + "9" * 40),
    ):  # fmt: skip
        fields = list(good)
        fields[at] = wrong
        status = board.hears("|".join(fields))
        if not status.startswith("failed|") or "|bad-" not in status:
            raise AssertionError((wrong, status))
    equal(board.hears("|" * 1000).split("|")[0], "failed")


def a_board_whose_boot_py_calls_nothing_takes_plain_offers_only():
    board = Board(OLD)
    unload()
    import mqtt_ota

    board.ota = mqtt_ota.Ota("X", board.publish, ROOT, reset)
    equal("set" in board.announce(), False)
    refused(board, board.syncs(NEW), "bad-offer fields")


def a_board_whose_boot_had_another_folder_says_so():
    board = Board(OLD)
    board.module.root = ROOT + "/lib"
    refused(board, board.syncs(NEW), "write boot()")


def a_delete_spares_what_an_update_needs():
    kept = {
        "boot.py": b"import mqtt_ota_boot",
        "mqtt_ota.py": b"1",
        "mqtt_ota_boot.mpy": b"2",
        "lib/mqtt_ota_set.py": b"3",
        "MQTT_OTA_x.py": b"5",
    }
    board = Board(both(kept, {"main.py": b"", "x/y": b"", "x/z/\u00e9": b""}))
    board.puts({"a b": b"1", "main.py": b"2"}, "|delete=all")
    equal(tree(), both(kept, {"a b": b"1", "main.py": b"2", "lib": None}))
    write("b", b"a name that ends another one")
    board.puts({"a b": b"1"}, "|delete=all")
    equal(tree(), both(kept, {"a b": b"1", "lib": None}))
    board.puts(both(kept, {"c/d/e": b"1"}))
    # What the set before the last one has brought goes as well.
    board.puts({"f": b"1"}, "|delete=set")
    equal(tree(), both(kept, {"f": b"1", "lib": None}))


def a_delete_covers_what_all_sets_before_have_brought_and_nothing_else():
    board = Board(OLD)
    board.puts({"a": b"1", "b": b"2", "lib/old.py": b"3", "main.py": b"4"})
    board.puts({"b": b"2", "c": b"5", "main.py": b"6"})
    board.puts({"main.py": b"7"})
    before = tree()
    equal(sorted(name for name in before if before[name]), ["a", "b", "boot.py", "c", "data.txt", "lib/a.py", "lib/old.py", "main.py"])
    # A set that changes nothing is one as well; and one that has a file again takes it over.
    is_status(board.syncs({"b": b"2"}), "installed|set|%s|unchanged" % name_of({"b": b"2"}))
    board.puts({"b": b"2", "d": b"8"}, "|delete=set")
    equal(tree(), {"boot.py": b"mqtt_ota_boot", "data.txt": b"mine", "lib": None, "lib/a.py": b"a", "b": b"2", "d": b"8"})
    equal("left" in board.state(), False)
    # Taken back, it is known again what was left.
    is_status(board.rolls_back(board.announce()["set"]), "rolled-back|set|")
    board.boot()
    equal(tree(), before)
    board.puts({"b": b"2", "e": b"9"}, "|delete=set")
    equal(tree(), {"boot.py": b"mqtt_ota_boot", "data.txt": b"mine", "lib": None, "lib/a.py": b"a", "b": b"2", "e": b"9"})


def a_note_of_what_was_left_is_not_kept_for_ever():
    board = Board(OLD)
    board.puts({"a": b"1"})
    board.puts({"b": b"1"})
    equal("left" in board.state(), True)
    board.puts({"a": b"2", "b": b"2"})
    equal("left" in board.state(), False)


def a_file_becomes_a_folder_and_a_folder_a_file():
    board = Board(OLD)
    files = {"main.py": b"1", "www": b"2", "page/index.html": b"3", "page/deep/x": b"4"}
    board.puts(files)
    before = tree()
    trade = {"main.py": b"5", "www/index.html": b"6", "www/deep/y": b"7", "page": b"8"}
    # Without a delete it stays as it is.
    refused(board, board.syncs(trade), "bad-name ")
    equal(tree(), before)
    for option in ("|delete=set", "|delete=all"):
        board.puts(trade, option)
        found = tree()
        for path in trade:
            equal(found[path], trade[path])
        equal([name for name in ("www/deep", "page/index.html") if name in found], ["www/deep"])
        is_status(board.rolls_back(name_of(trade)), "rolled-back|set|")
        board.boot()
        if option == "|delete=set":
            equal(tree(), before)


def a_set_that_trades_a_file_for_a_folder_and_is_not_confirmed_goes():
    board = Board(OLD)
    board.puts({"www": b"2", "page/index.html": b"3"})
    before = tree()
    board.syncs({"www/index.html": b"6", "page": b"8"}, "|delete=set")
    for _ in range(3):
        board.boot(confirms=False)
    equal(tree(), before)


def a_folder_with_something_else_in_it_stays():
    board = Board(OLD)
    board.puts({"page/index.html": b"3"})
    for other in ("page/log.txt", "page/logs/1"):
        write(other, b"mine")
        before = tree()
        refused(board, board.syncs({"page": b"8"}, "|delete=set"), "bad-name page is a folder")
        equal(tree(), before)
        os.remove(ROOT + "/" + other)
    # Even an empty one.
    refused(board, board.syncs({"page": b"8"}, "|delete=set"), "bad-name page is a folder")
    os.rmdir(ROOT + "/page/logs")
    board.puts({"page": b"8"}, "|delete=set")


def a_name_that_changes_its_case_is_not_deleted_where_case_does_not_count():
    board = Board({"boot.py": b"mqtt_ota_boot"})
    board.puts({"Index.htm": b"1", "Lib/Gone.py": b"2", "same.py": b"3"})
    folds = "INDEX.HTM" in [name.upper() for name in os.listdir(ROOT)] and opens("INDEX.htm")
    equal(folds, FAT)
    board.puts({"index.htm": b"4", "lib/new.py": b"5", "SAME.py": b"3"}, "|delete=set")
    for path, data in (("index.htm", b"4"), ("lib/new.py", b"5"), ("SAME.py", b"3")):
        with open(ROOT + "/" + path, "rb") as file:
            equal(file.read(), data)
    # Case or not, what goes is gone.
    equal(opens("Lib/Gone.py"), False)
    equal(opens("Index.htm"), FAT)
    equal(board.syncs({"index.htm": b"4", "lib/new.py": b"5", "SAME.py": b"3"}, "|delete=all").split("|")[3], "unchanged")
    # Beyond ASCII it is not known what is folded: what may be one file stays.
    board.puts({"\u00c9.txt": b"6"}, "|delete=set")
    board.puts({"\u00e9.txt": b"6"}, "|delete=set")
    with open(ROOT + "/\u00e9.txt", "rb") as file:
        equal(file.read(), b"6")


def opens(path):
    try:
        open(ROOT + "/" + path, "rb").close()
        return True
    except OSError:
        return False


def a_delete_of_all_leaves_a_name_that_no_set_can_have():
    if FAT:
        return  # it has no such names
    board = Board({"boot.py": b"", "a\nb": b"1", "x" * 129: b"2", "c": b"3"})
    board.puts({"d": b"4"}, "|delete=all")
    equal(tree(), {"boot.py": b"", "a\nb": b"1", "x" * 129: b"2", "d": b"4"})


def a_deleted_file_comes_back_with_its_folder():
    board = Board(OLD)
    board.puts({"deep/er/file": b"1", "main.py": b"1"})
    before = tree()
    board.puts({"main.py": b"1"}, "|delete=set")
    equal("deep" in tree(), False)
    is_status(board.rolls_back(name_of({"main.py": b"1"})), "rolled-back|set|")
    equal(tree(), before)


def a_new_file_goes_with_the_folders_that_were_made_for_it():
    board = Board(OLD)
    os.mkdir(ROOT + "/kept")
    before = tree()
    board.puts({"kept/new/file": b"1", "other/new/file": b"2", "other/new/two": b"3"})
    is_status(board.rolls_back(board.announce()["set"]), "rolled-back|set|")
    equal(tree(), before)


def a_set_that_is_not_confirmed_goes_with_the_third_boot():
    for trial, boots in (("", 2), ("|trial=5", 4), ("|trial=2", 1), ("|trial=1", 1)):
        board = Board(OLD)
        before = tree()
        is_status(board.syncs(NEW, "|delete=all" + trial), "installed|")
        for number in range(boots):
            equal(board.boot(confirms=False), 0)
            equal(board.announce()["boots"], str(number + 1))
            equal(tree()["main.py"], b"new")
        equal(board.boot(), 1)
        said = board.announce()
        equal((said["set"], said["rolled-back"], "boots" in said), ("-", name_of(NEW), False))
        equal((tree(), board.state()), (before, ["back", "error"]))
        board.puts(NEW)
        equal("rolled-back" in board.announce(), False)


def a_set_that_was_not_booted_cannot_be_confirmed():
    board = Board(OLD)
    offer = []
    board.sender.answers = lambda ota, text: offer.append(text)
    board.sender.syncs(board.ota, NEW)
    is_status(board.hears(offer[0].replace("|1|id=", "|0|id=")), "installed|")
    said = board.announce()
    equal((said["boots"], board.module.confirm()), ("0", False))
    equal(board.state(), ["boots", "ks0", "set", "trial"])
    board.boot()
    equal(board.state(), ["ks0", "last", "set"])


def an_offer_while_a_set_is_on_trial_is_refused_but_the_same_one():
    board = Board(OLD)
    board.syncs(NEW)
    board.boot(confirms=False)
    before = tree(own=True)
    refused(board, board.syncs(OLD), "busy")
    is_status(board.sends("main.py", b"1"), "failed|main.py|%s|busy" % hexadecimal(sha256(b"1").digest()))
    equal(board.installs("main.py", b"1"), False)
    is_status(board.syncs(NEW), "installed|set|%s|unchanged" % name_of(NEW))
    equal(tree(own=True), before)


def a_rollback_is_done_once_and_only_while_the_copies_are_kept():
    board = Board(OLD)
    refused(board, board.rolls_back(HASH), "gone")
    before = tree()
    board.puts(NEW)
    refused(board, board.rolls_back(HASH), "gone")
    is_status(board.rolls_back(name_of(NEW)), "rolled-back|set|%s| and resets" % name_of(NEW))
    equal(tree(), before)
    equal(board.boot(), 0)
    equal(board.announce()["rolled-back"], name_of(NEW))
    refused(board, board.rolls_back(name_of(NEW)), "gone")
    board.puts(NEW)
    equal(board.installs("main.py", b"alone"), True)
    refused(board, board.rolls_back(name_of(NEW)), "gone")
    board.boot()
    equal(board.state(), ["was"])


def a_rollback_while_a_set_is_on_trial():
    board = Board(OLD)
    before = tree()
    board.syncs(NEW)
    board.boot(confirms=False)
    is_status(board.rolls_back(name_of(NEW)), "rolled-back|")
    equal(board.boot(), 0)
    equal((tree(), board.state()), (before, ["back", "error"]))


def a_file_by_itself_makes_the_set_unknown_but_not_what_it_had():
    for send in (lambda board: board.sends("main.py", b"alone"), lambda board: board.installs("main.py", b"alone")):
        board = Board({"boot.py": b""})
        board.puts(NEW)
        send(board)
        board.boot()
        equal(board.announce()["set"], "-")
        board.puts({"main.py": b"new"}, "|delete=set")
        equal(tree(), {"boot.py": b"", "main.py": b"new"})


def a_set_of_one_file_is_replaced_with_one_request_and_others_are_compared_first():
    board = Board(OLD)
    board.puts({"main.py": b"1"})
    board.puts({"main.py": b"2"})
    equal(board.sender.requests, ["0- 0"])
    # What is there already is passed over.
    board.puts({"a.py": b"a", "main.py": b"2", "z.py": b"z" * 3000})
    equal(board.sender.requests, ["0- 0", "3-3 0"])
    board.puts({"a.py": b"b", "main.py": b"2", "z.py": b"z" * 3000})
    equal(board.sender.requests, ["0-0 0", "1-1 0"])
    equal(tree()["z.py"], b"z" * 3000)


def a_lost_link_costs_what_is_not_yet_there():
    board = Board(OLD)
    size = len(manifest(NEW)[0])
    board.sender.breaks = [100, size + 2000 - 100, 1000]
    is_status(board.syncs(NEW), "installed|")
    equal(board.sender.requests, ["0- 0", "0- 100", "2-2 2000", "2-2 3000", "3-4 0"])
    board = Board(OLD)
    board.sender.breaks = [3000, 0, 0, 0, 0]
    refused(board, board.syncs(NEW), "short")
    board.boot()
    is_status(board.syncs(NEW), "installed|")
    equal(board.sender.requests, ["2-4 %d" % (3000 - size)])
    board.boot()
    equal(board.state(), ["ks0", "last", "set"])


def a_file_by_itself_resumes_too():
    board = Board(OLD)
    file = NEW["lib/b.py"]
    board.sender.breaks = [4000, 600]
    is_status(board.sends("x/y/main.py", file), "installed|x/y/main.py|")
    equal(board.sender.requests, ["0-0 0", "0-0 4000", "0-0 4600"])
    equal((tree()["x/y/main.py"], board.state()), (file, []))
    board.sender.breaks = [1000, 0, 0, 0, 0]
    is_status(board.sends("b", file[1:]), "failed|b|")
    board.boot()
    is_status(board.sends("b", file[1:]), "installed|b|")
    equal(board.sender.requests, ["0-0 1000"])
    is_status(board.sends("b", file[1:]), "installed|b|%s|unchanged" % hexadecimal(sha256(file[1:]).digest()))
    is_status(board.sends("nothing", b""), "installed|nothing|")


def a_sender_that_is_gone_is_said_to_be():
    board = Board(OLD)
    board.sender.listener.close()
    board.sender.serves = lambda: False
    board.sender.accepts = lambda: False
    refused(board, board.syncs(NEW), "connect 127.0.0.1:%d " % board.sender.port)
    equal(tree()["main.py"], b"old")


def a_sender_that_sends_something_else_changes_nothing():
    board = Board(OLD)
    before = tree()
    text, items = manifest(NEW)
    for number in range(len(items)):
        if items[number]:
            wrong = list(items)
            wrong[number] = b"?" * len(wrong[number])
            refused(board, board.last(board.sender.offers, "set", [text] + wrong, "|set=1"), "hash-mismatch")
            equal(tree(), before)
    board.puts(NEW)


def a_set_that_another_one_follows_leaves_nothing_staged():
    board = Board(OLD)
    board.sender.breaks = [4500, 0, 0, 0, 0]
    refused(board, board.syncs(NEW), "short")
    other = {"main.py": b"other"}
    is_status(board.syncs(other), "installed|")
    board.boot()
    equal(board.state(), ["ks0", "last", "set"])


def a_dry_run_does_nothing():
    board = Board(OLD)
    board.puts({"main.py": b"old", "gone": b"1"})
    board.sender.breaks = [4500, 0, 0, 0, 0]
    refused(board, board.syncs(NEW), "short")
    before = tree(own=True)
    status = board.syncs({"main.py": b"old", "other": b"1"}, "|delete=set|dry=1")
    is_status(status, "planned|set|")
    equal(board.sender.requests, ["0-0 0", "2", "- gone"])
    after = tree(own=True)
    equal([path for path in after if before.get(path, b"") != after[path] and "part" not in path], [])
    equal([path for path in before if path not in after], [])
    is_status(board.syncs(NEW, "|dry=1"), "planned|")
    equal(board.sender.requests, ["2", "3", "4"])


def a_lack_of_space_is_told_before_a_file_is_fetched():
    for free, enough in ((9, False), (15, False), (25, True)):
        board = Board(OLD)
        board.puts({"main.py": b"earlier"})
        space = Os(statvfs=lambda path: (4096, 4096, 128, free, free, 0, 0, 0, 0, 255))
        board.replaced["mqtt_ota_plan"] = {"os": space}
        board.replaced["mqtt_ota_work"] = {"os": space}
        before = tree()
        status = board.syncs(NEW)
        if enough:
            is_status(status, "installed|")
            continue
        refused(board, status, "no-space ")
        words = status.split("|")[3].split(" ")
        equal((words[2:4], words[5]), (["bytes", "needed,"], "free"))
        if int(words[1]) <= int(words[4]):
            raise AssertionError(status)
        if len(board.sender.requests) > 1:
            raise AssertionError(board.sender.requests)
        equal(tree(), before)
        is_status(board.rolls_back(name_of({"main.py": b"earlier"})), "rolled-back|")


def a_file_that_is_longer_than_the_limit_is_not_fetched():
    board = Board(OLD)
    board.ota.limit = 4000
    refused(board, board.syncs(NEW), "no-space over 4000 bytes")
    equal(board.sender.requests, ["0- 0"])
    status = board.sends("x", NEW["lib/b.py"])
    equal(status.split("|")[3], "no-space over 4000 bytes")


def a_boot_py_that_calls_nothing_is_refused():
    board = Board(OLD)
    before = tree()
    refused(board, board.syncs({"boot.py": b"import network\n", "a": b""}), "bad-offer boot.py")
    equal(tree(), before)
    board.puts({"boot.py": b"import mqtt_ota_boot\nmqtt_ota_boot.boot()\n", "a": b""})


def a_recovery_that_cannot_be_loaded_is_refused():
    for path in ("mqtt_ota_boot.py", "lib/mqtt_ota_boot.py", "mqtt_ota_boot.mpy"):
        for wrong in (b"import", b"1 +", b"raise OSError(1)", b"x = 1", b"M\x01\x00\x00"):
            board = Board(OLD)
            before = tree()
            if path.endswith(".mpy") and wrong[:1] != b"M":
                continue
            if sys.implementation.name == "cpython" and path.endswith(".mpy"):
                continue
            refused(board, board.syncs({path: wrong, "main.py": b"new"}), "bad-offer mqtt_ota_boot: ")
            equal((tree(), "mqtt_ota_boot" in sys.modules), (before, True))
            equal([name for name in board.state() if "boot" in name], [])
            board.puts({"main.py": b"new"})
    board.puts({"lib/mqtt_ota_boot.py": b"def boot():\n    pass\n"})


class Timer:
    """A board's, which fires when it is told to."""

    ONE_SHOT, PERIODIC = 0, 1
    all = []

    def __init__(self, number):
        if number < 0:
            raise ValueError  # as on an ESP32
        self.number = number
        self.all.append(self)

    def init(self, mode, period, callback):
        self.period, self.callback = period, callback

    def deinit(self):
        self.period = None


class Watchdog:
    """A board's, which says how long it waits, and how often it is fed."""

    waits = []  # ms, of each that was made
    fed = 0

    def __init__(self, id=0, timeout=5000):
        self.waits.append(timeout)

    def feed(self):
        Watchdog.fed += 1


class Machine:
    """A board's own module. What it boots of is what is set here."""

    Timer = Timer
    WDT = Watchdog
    PWRON_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 3, 4, 5
    cause = SOFT_RESET
    reset = staticmethod(reset)

    @classmethod
    def reset_cause(cls):
        return cls.cause


class Network:
    """Wi-Fi, which is joined or is not."""

    STA_IF = 0
    joined = False

    class WLAN:
        def __init__(self, _):
            pass

        def isconnected(self):
            return Network.joined

        def ifconfig(self):
            return ("192.0.2.7" if Network.joined else "0.0.0.0",)

        def config(self, _):
            return b"\x24\x0a\xc4\x12\x34\x56"


def on_a_board(test):
    """The test, with the modules of a board."""

    def run():
        sys.modules["machine"], sys.modules["network"] = Machine, Network
        Machine.cause, Network.joined = Machine.SOFT_RESET, False
        Timer.all.clear()
        Watchdog.waits.clear()
        Watchdog.fed = 0
        try:
            test()
        finally:
            sys.modules.pop("machine")
            sys.modules.pop("network")

    return run


def goes_back(board, boots):
    """How the board boots, until it takes the set on trial back: each is a function that is called in such a boot.

    Returns why it did, if it did with the boot after these.
    """
    board.syncs(NEW)
    for boot in boots:
        board.boot(confirms=False, announces=False, **board.options)
        if not board.module.there("trial"):
            raise AssertionError("it is taken back too early")
        try:
            boot(board)
        except Reset:
            pass
    before = board.boot(confirms=False, announces=False, **board.options)
    return board.announce().get("error") if before else None


def crashes(board):
    board.module.run("no_such_application")


def has_the_network(board):
    board.module.trial.mark("n")


def never_has_it(board):
    pass


def is_reset_by_the_watchdog(board):
    Machine.cause = Machine.WDT_RESET


def loses_its_power(board):
    Machine.cause = Machine.PWRON_RESET


@on_a_board
def a_set_is_judged_by_what_its_boots_were():
    for boots, why in (
        ([crashes, crashes], "ImportError: "),
        ([has_the_network, has_the_network], "not confirmed in 3 boots"),
        ([is_reset_by_the_watchdog] * 2, "not confirmed in 3 boots"),
        ([crashes, has_the_network], "ImportError: "),
        ([never_has_it, crashes, never_has_it, has_the_network], "ImportError: "),
        ([never_has_it] * 9, "no-network in 10 boots"),
        ([crashes] + [never_has_it] * 9, "no-network in 10 boots"),
        ([never_has_it] * 8, None),
        ([never_has_it, crashes] + [never_has_it] * 7, None),
        ([loses_its_power] * 30, None),
        ([loses_its_power] * 30 + [crashes], None),
    ):
        for small in False, True:
            Machine.cause = Machine.SOFT_RESET
            board = Board(OLD)
            board.small = small
            board.options = {"connect": int}
            got = goes_back(board, boots)
            got = got and got.replace("ModuleNotFoundError", "ImportError")  # as CPython has it
            if (got or "").find(why or "") != 0 or bool(got) != bool(why):
                raise AssertionError((boots, small, got, why))
            if not why:
                equal(board.announce()["boots"], str(len(boots) + 1))


@on_a_board
def a_small_board_counts_a_boot_of_a_set_in_the_one_before():
    for cause, resets in (Machine.SOFT_RESET, 1), (Machine.DEEPSLEEP_RESET, 0):
        board = Board(OLD)
        board.small = True
        board.syncs(NEW)
        got = []
        for _ in range(3):
            Machine.cause = cause
            got.append(board.boot(confirms=False, announces=False, connect=int))
            got.append(board.module.read("boots"))
        equal(got, [0, "1 0 0 .", resets, "2 0 1 .", resets, "3 0 2 ."])
        board.boot(connect=int)
        equal(board.state(), ["ks0", "last", "set"])


def a_set_whose_boots_cannot_be_noted_is_taken_back():
    board = Board(OLD)
    before = tree()
    board.syncs(NEW)
    board.replaced["mqtt_ota_trial"] = {"open": lambda *args: raises(OSError(28))}
    equal(board.boot(announces=False), 3)
    del board.replaced["mqtt_ota_trial"]
    equal((board.announce()["error"], tree()), ("this boot cannot be noted", before))


def a_set_on_trial_on_a_full_disk_is_taken_back_and_the_board_comes_up():
    for small in False, True:
        board = Board(OLD)
        board.small = small
        before = tree()
        board.syncs(NEW)

        def full(path, mode="r"):
            return raises(OSError(28)) if "w" in mode else open(path, mode)

        for module in "mqtt_ota_trial", "mqtt_ota_recover":
            board.replaced[module] = {"open": full}
        board.boot(announces=False, connect=int)
        board.replaced.clear()
        equal((tree(), "rolled-back" in board.announce()), (before, True))


@on_a_board
def a_reset_on_an_rp2_is_no_watchdogs():
    Machine.cause = Machine.WDT_RESET
    board = Board(OLD)

    is_a(board, "rp2")
    board.syncs(NEW)
    for _ in range(3):
        board.module.boot(ROOT, 0, reset)
    equal((board.module.read("boots"), "trial" in board.state()), ("3 0 2 .", True))


@on_a_board
def a_board_that_loses_its_power_after_it_had_the_network_keeps_its_set():
    board = Board(OLD)
    Machine.cause = Machine.PWRON_RESET
    equal(goes_back(board, [has_the_network] * 5), None)


@on_a_board
def a_board_that_does_not_confirm_in_time_is_reset():
    board = Board(OLD)
    board.syncs(NEW)
    Timer.all.clear()
    board.boot(confirms=False, announces=False, patience=7)
    equal([(timer.number, timer.period) for timer in Timer.all], [(3, 1000)])
    timer = Timer.all[0]
    for second in range(1, 8):
        try:
            timer.callback(timer)
        except Reset:
            break
    equal((second, board.module.read("boots")), (7, "1 0 0 ."))
    # One that has joined the network.
    Network.joined = True
    board.boot(confirms=False, announces=False, patience=7)
    equal(board.module.read("boots"), "2 0 1 n")
    # Once it is confirmed, the timer may be the application's.
    timer = Timer.all[-1]
    board.module.confirm()
    timer.callback(timer)
    equal(timer.period, None)
    board.boot(patience=7)
    equal(len(Timer.all), 2)


@on_a_board
def a_timer_can_be_chosen():
    board = Board(OLD)
    board.syncs(NEW)
    Timer.all.clear()
    board.boot(confirms=False, announces=False, patience=7, timer=2)
    equal(Timer.all[0].number, 2)


def is_a(board, platform, version=(1, 25, 0)):
    """Has the board's interpreter say that it is another one."""

    class Sys:
        class implementation:
            pass

    Sys.platform = platform
    Sys.implementation.version = version
    for module in "mqtt_ota_recover", "mqtt_ota_guard":
        board.replaced[module] = {"sys": Sys}


@on_a_board
def an_esp32_can_be_watched_by_its_watchdog_until_the_set_is_confirmed():
    board = Board(OLD)
    is_a(board, "esp32")
    board.syncs(NEW)
    board.boot(confirms=False, announces=False, patience=7, timer="wdt")
    board.announce()
    equal((Timer.all, Watchdog.waits, Watchdog.fed), ([], [7000], 0))
    # Then it waits for as long as it can, and the client feeds it.
    board.module.confirm()
    for _ in range(3):
        board.ota.poll()
    equal((Timer.all, Watchdog.waits, Watchdog.fed), ([], [7000, (1 << 30) - 1], 3))
    # There is nothing to watch over in the next boot.
    board.boot(patience=7, timer="wdt")
    equal((Timer.all, len(Watchdog.waits)), ([], 2))


@on_a_board
def a_watchdog_that_cannot_wait_leaves_it_to_the_timer():
    for platform, version in ("rp2", (1, 25, 0)), ("esp8266", (1, 25, 0)), ("esp32", (1, 20, 0)):
        board = Board(OLD)
        is_a(board, platform, version)
        board.syncs(NEW)
        Timer.all.clear()
        board.boot(confirms=False, announces=False, patience=7, timer="wdt")
        equal((platform, len(Timer.all), Watchdog.waits), (platform, 1, []))


@on_a_board
def a_watchdog_that_has_waited_for_the_network_is_no_fault():
    for platform, boots, why in (
        ("esp32", [is_reset_by_the_watchdog] * 9, "no-network in 10 boots"),
        ("esp32", [is_reset_by_the_watchdog] * 8, None),
        ("esp32", [has_the_network, is_reset_by_the_watchdog, has_the_network], "not confirmed in 3 boots"),
        ("esp8266", [is_reset_by_the_watchdog] * 2, "not confirmed in 3 boots"),
    ):
        Machine.cause = Machine.SOFT_RESET
        board = Board(OLD)
        is_a(board, platform)
        board.options = {"timer": "wdt"}
        equal((platform, len(boots), goes_back(board, boots)), (platform, len(boots), why))


def a_set_whose_offer_comes_again_after_it_was_taken_back_is_refused():
    board = Board(OLD)
    offers = []
    board.sender.answers = lambda ota, text: offers.append(text)
    board.sender.syncs(board.ota, NEW)
    del board.sender.answers
    is_status(board.hears(offers[0]), "installed|set|")
    for _ in range(3):
        board.boot(confirms=False)
    before = tree()
    status = board.hears(offers[0])
    equal(status, "rolled-back|set|%s|not confirmed in 3 boots" % name_of(NEW))
    equal((tree(), tree()["main.py"]), (before, b"old"))
    # Another offer of the same set is another try.
    is_status(board.syncs(NEW), "installed|set|%s| and resets" % name_of(NEW))


@on_a_board
def an_application_that_dies_is_told_and_after_three_times_not_run():
    board = Board(OLD)
    for count in range(1, 4):
        try:
            board.module.run("no_such_application")
            raise AssertionError("no reset")
        except Reset:
            board.boot(announces=False)
        equal(board.module.read("crashes"), "." * count)
    board.announce()
    told = [text for text in board.published if "no_such_application" in text]
    if len(told) != 1 or not told[0].startswith("Traceback") or not told[0].endswith("\n"):
        raise AssertionError(board.published)
    board.announce()
    equal(len(board.published), 1)  # it is told once

    class Client:
        client_id = b"X"

    def client():
        seen.append("client")
        raise KeyboardInterrupt

    seen = []
    try:
        board.module.run("no_such_application", connect=lambda: seen.append("network"), client=client)
    except KeyboardInterrupt:
        pass
    equal((seen, board.announce()["safe"]), (["network", "client"], "1"))
    # The same once more is run as well, as the cause may have been something else.
    is_status(board.sends("main.py", b"old"), "installed|main.py|%s|unchanged and resets" % hexadecimal(sha256(b"old").digest()))
    equal("crashes" in board.state(), False)
    for _ in range(3):
        board.boot()
        try:
            board.module.run("no_such_application")
        except Reset:
            pass
    # Something new is run, and what was told is taken back.
    board.boot()
    is_status(board.sends("main.py", b"newer"), "installed|main.py|")
    equal("crashes" in board.state(), False)
    board.announce()
    equal(board.published[0], "")


@on_a_board
def a_row_of_crashes_ends_with_ten_minutes_of_running():
    board = Board(OLD)
    for ran, count in ((1000, 1), (599000, 2), (601000, 1), (0, 2)):
        ticks = [0, ran]
        board.replaced["mqtt_ota_run"] = {"ticks_ms": lambda: ticks.pop(0)}
        try:
            board.module.run("no_such_application")
        except Reset:
            pass
        equal(board.module.read("crashes"), "." * count)


@on_a_board
def a_board_that_sleeps_ends_a_row_of_crashes_with_each_good_wake():
    board = Board(OLD)
    for cause, count in (("SOFT", 1), ("SOFT", 2), ("DEEPSLEEP", 1), ("SOFT", 2), ("SOFT", 3), ("DEEPSLEEP", 1), ("DEEPSLEEP", 1)):
        Machine.cause = getattr(Machine, cause + "_RESET")
        try:
            crashes(board)
        except Reset:
            pass
        equal((cause, board.module.read("crashes")), (cause, "." * count))


def an_offer_that_was_noted_in_part_is_none():
    board = Board(OLD)
    equal(boots_to_fetch(board, b"", no_network), False)
    equal(("offer" in board.state(), "said" in board.state()), (False, False))


@on_a_board
def an_offer_whose_set_is_in_place_is_answered_without_a_network():
    for cut in "commit", "trial":
        board = Board(OLD)
        offers = []
        board.sender.answers = lambda ota, text: offers.append(text)
        board.sender.syncs(board.ota, NEW)
        del board.sender.answers
        is_status(board.hears(offers[0]), "installed|set|")
        os.rename(ROOT + "/.mqtt-ota/trial", ROOT + "/.mqtt-ota/" + cut)
        write(".mqtt-ota/offer", offers[0].encode())
        board.boot(announces=False, connect=no_network)
        equal([name for name in board.state() if name in ("offer", "tries")], [])
        board.announce()
        is_status(board.published[0], "installed|set|%s|" % name_of(NEW))


def an_offer_is_fetched_whatever_else_a_boot_has_to_finish():
    for left in "drop", "plan":
        board = Board(OLD)
        board.puts(NEW)
        os.rename(ROOT + "/.mqtt-ota/last", ROOT + "/.mqtt-ota/" + left)
        equal(boots_to_fetch(board, b"127.0.0.1|1|x|" + b"0" * 40, no_network), True)
        equal([name for name in board.state() if name in ("offer", left)], [])


def a_second_set_without_a_boot_is_not_confirmed_by_the_first():
    board = Board(OLD)
    board.puts(NEW)
    offer = []
    board.sender.answers = lambda ota, text: offer.append(text)
    board.sender.syncs(board.ota, OLD)
    is_status(board.hears(offer[0].replace("|1|id=", "|0|id=")), "installed|")
    equal(board.announce()["boots"], "0")


def a_boot_py_and_the_client_are_changed_last_and_put_back_first():
    files = {}
    for path in ("boot.py", "lib/mqtt_ota_set.py", "main.py", "mqtt_ota_boot.py", "zzz"):
        files[path] = b"mqtt_ota_boot 1"
    board = Board(files)
    order = []

    def rename(old, new):
        order.append(new[len(ROOT) + 1 :])
        os.rename(old, new)

    board.replaced["mqtt_ota_journal"] = {"os": Os(rename=rename)}
    changed = {path: b"boot = 'mqtt_ota_boot 2'" for path in files}
    is_status(board.syncs(changed), "installed|")
    wanted = [".mqtt-ota/set", "main.py", "zzz", "lib/mqtt_ota_set.py", "mqtt_ota_boot.py", "boot.py"]
    equal(order, wanted + [".mqtt-ota/trial"])
    order.clear()
    board.rolls_back(board.announce()["set"])
    wanted = [".mqtt-ota/undo", "boot.py", "lib/mqtt_ota_set.py", "mqtt_ota_boot.py", "main.py", "zzz", ".mqtt-ota/back"]
    equal(order, wanted)


def a_set_that_cannot_be_put_in_place_is_taken_back():
    board = Board(OLD)
    before = tree()

    def rename(old, new):
        if new.endswith("/z.py"):
            raise OSError(28)
        os.rename(old, new)

    board.replaced["mqtt_ota_journal"] = {"os": Os(rename=rename)}
    refused(board, board.syncs(NEW, "|delete=all"), "write")
    equal((tree(), board.state()), (before, ["back", "error"]))
    board.replaced.clear()
    board.boot()
    board.puts(NEW)


def a_board_boots_whatever_a_journal_says():
    whole = b"%s 3\n" % HASH.encode()
    contents = [b"", b"\n", b"\xff\xfe\xfd", b"x" * 5000, HASH.encode(), whole, whole + b"=\n+ 1\n= 1 0\n- x y main.py\n"]
    contents += [whole + b"= 1 x main.py\n", whole + b"= 9 0 \xff\n", b"%s x\n+ 7 0 seven" % HASH.encode()]
    for name in ("commit", "trial", "undo", "plan", "drop", "last", "back", "boots", "error", "set", "was", "0", "part"):
        for data in contents:
            board = Board(OLD)
            write(".mqtt-ota/" + name, data)
            board.boot()
            board.announce()
            equal(tree()["main.py"], b"old")
            board.puts(NEW, "|delete=set")
        board = Board(OLD)
        write(".mqtt-ota/" + name + "/x", b"a folder in its place")
        board.boot()
        board.announce()
        equal(tree()["main.py"], b"old")


def a_board_boots_whatever_fails():
    for name in ("stat", "rename", "remove", "open"):
        for journal in ("commit", "trial", "undo", "plan", "drop"):
            board = Board(OLD)
            write(".mqtt-ota/" + journal, b"%s 3\n= 1 0 main.py\n+ 2 0 x\n" % HASH.encode())
            write(".mqtt-ota/1", b"new")
            sys.modules.pop("mqtt_ota_boot")
            import mqtt_ota_boot

            def fail(*arguments):
                raise OSError(5)

            if name == "open":
                mqtt_ota_boot.open = fail
            else:
                mqtt_ota_boot.os = Os(**{name: fail})
            try:
                mqtt_ota_boot.boot(ROOT, 0, reset)
            except Reset:
                pass
    mqtt_ota_boot.os = os

    def no_reset():
        raise OSError(5)

    write(".mqtt-ota/commit", b"%s 3\n" % HASH.encode())
    mqtt_ota_boot.boot(ROOT, 0, no_reset)


def a_board_that_cannot_count_takes_the_set_back():
    board = Board(OLD)
    before = tree()
    board.syncs(NEW)
    board.module.quietly(os.remove, ROOT + "/.mqtt-ota/boots")
    write(".mqtt-ota/boots/x", b"so it cannot be written")
    board.boot()
    equal(tree(), before)


def an_application_that_raises_is_taken_back_with_its_error():
    board = Board(OLD)
    board.syncs(NEW)
    board.boot(confirms=False)
    board.error("OSError: a|b\n\u00e9" + "x" * 500)
    for _ in range(3):
        board.boot(confirms=False)
    said = board.announce()
    equal((said["rolled-back"], said["error"]), (name_of(NEW), "OSError: a b   " + "x" * 185))
    if len(board.published[-1]) > 512:
        raise AssertionError(board.published)
    board.error("no set is on trial")
    equal(board.announce()["error"], said["error"])


def a_client_that_gives_up_in_the_middle_can_go_on():
    for stop in range(1, 60, 3):
        board = Board(OLD)
        before = tree()
        offer = []
        board.sender.answers = lambda ota, text: offer.append(text)
        board.sender.syncs(board.ota, NEW)
        board.ota.message(b"X/OTA", offer[0].encode())
        steps = board.ota.steps()
        for _ in range(stop):
            step = next(steps)
            if step == 1 and not board.sender.serves():
                board.ota._wait(250)
            elif step and step != 1 and not step.startswith("receiving"):
                is_status(step, "installed")
                break
        else:
            steps.close()
            if board.module.there("trial"):  # nobody leaves while the files are put in place
                found = tree()
                equal([path for path in both(OLD, NEW) if found.get(path) != both(OLD, NEW)[path]], [])
                break
            equal(tree(), before)
            while board.sender.stream or board.sender.accepts():
                board.sender.close()
            del board.sender.answers
            board.puts(NEW)
            equal("plan" in board.state(), False)
            continue
        break


def a_module_that_is_missing_or_half_there_is_named_and_single_files_go_on():
    for broken, why in ((None, "no module named"), (b"import os\n", "only a part"), (b"def (\n" + b"#" * 40, "only a part")):
        board = Board(OLD)
        name = "mqtt_ota_plan"
        load = board.load

        def fails(name):
            if name != "mqtt_ota_plan":
                return load(name)
            if broken is None:
                return load("mqtt_ota_no_such_module")
            folder = ROOT + "/broken"
            os.mkdir(folder)
            with open(folder + "/mqtt_ota_plan.py", "wb") as file:
                file.write(broken)
            sys.path.insert(0, folder)
            try:
                return load(name)
            finally:
                sys.path.pop(0)

        board.load = fails
        status = board.syncs(NEW)
        is_status(status, "failed|set|%s|write mqtt_ota_" % name_of(NEW))
        if why not in status.lower():
            raise AssertionError(status)
        equal("set" in board.announce(), False)
        is_status(board.sends("main.py", b"newer"), "installed|main.py|")


def boots_to_fetch(board, offer, connect, **options):
    """Has the next boot fetch this; returns whether the board resets itself after that."""
    write(".mqtt-ota/offer", offer)
    try:
        unload()
        import mqtt_ota_boot

        mqtt_ota_boot.boot(ROOT, 0, reset, connect=connect, **options)
        return False
    except Reset:
        return True


def no_network():
    raise OSError("no network")


def an_offer_that_waits_for_the_boot_is_not_replaced_by_another():
    board = Board(OLD)
    board.boot(connect=no_network, at_boot=True)
    offers = []
    board.sender.answers = lambda ota, text: offers.append(text.encode())
    board.sender.sends(board.ota, "main.py", b"newer")
    board.sender.sends(board.ota, "other.py", b"other")
    del board.sender.answers
    board.published.clear()
    for offer in offers:
        board.ota.message(board.ota.topic, offer)
    try:
        board.ota.poll()
        raise AssertionError("no reset")
    except Reset:
        pass
    said = [text.split("|") for text in board.published if text[:2] != "v="]
    equal([(it[0], it[1], it[3].split(" ")[0]) for it in said], [("receiving", "main.py", "at-boot"), ("failed", "other.py", "busy")])
    with open(ROOT + "/.mqtt-ota/offer", "rb") as file:
        equal(file.read(), offers[0])


def the_offer(board, call, *arguments):
    """The offer that one of the sender's methods makes."""
    offers = []
    board.sender.answers = lambda ota, text: offers.append(text.encode())
    call(board.ota, *arguments)
    del board.sender.answers
    return offers[0]


def noted_for_the_boot():
    with open(ROOT + "/.mqtt-ota/offer", "rb") as file:
        return file.read()


def raises(problem):
    raise problem


def an_offer_that_waits_for_the_boot_is_taken_again_and_a_newer_one_of_the_file_instead():
    board = Board(OLD)
    board.boot(connect=no_network, at_boot=True)
    first = the_offer(board, board.sender.sends, "main.py", b"newer")
    newest = the_offer(board, board.sender.sends, "main.py", b"newest")
    publish = board.ota.publish
    for again in first, newest:

        def publishes(topic, message, retain):
            # The other one comes while it is told what becomes of this one.
            publish(topic, message, retain)
            if b"at-boot" in message and not board.ota._noted and again not in seen:
                seen.append(again)
                board.ota.message(board.ota.topic, again)

        seen = []
        board.published.clear()
        board.ota.publish = publishes
        board.ota.message(board.ota.topic, first)
        for _ in range(2):
            try:
                board.ota.poll()
            except Reset:
                break
        told = [text.split("|") for text in board.published if text[:2] != "v="]
        equal([(it[0], it[3].split(" ")[0]) for it in told], [("receiving", "at-boot")] * 2)
        equal(noted_for_the_boot(), again)


def a_set_on_trial_counts_its_boots_though_what_was_offered_cannot_be_told():
    board = Board(OLD)
    offer = the_offer(board, board.sender.syncs, NEW)
    is_status(board.syncs(NEW), "installed|set|")
    write(".mqtt-ota/offer", offer)
    board.replaced["mqtt_ota_fetch"] = {"is_done": lambda: raises(OSError(28))}
    for count in "12":
        board.boot(announces=False)
        equal((board.module.read("boots").split(" ")[0], board.module.trial is None), (count, False))


@on_a_board
def an_offer_that_waits_behind_another_set_is_not_told_to_be_installed():
    board = Board(OLD)
    offer = the_offer(board, board.sender.sends, "other.py", b"other")
    is_status(board.syncs(NEW), "installed|set|")
    write(".mqtt-ota/offer", offer)
    board.boot(announces=False, connect=no_network)
    equal(("said" in board.state(), noted_for_the_boot()), (False, offer))
    # Nor is it a reason for a small board to boot again and again.
    board.small = True
    for resets, count in (1, "2"), (1, "3"):
        got = board.boot(confirms=False, announces=False, connect=no_network)
        equal((got, board.module.read("boots").split(" ")[0], board.module.trial is None), (resets, count, False))


@on_a_board
def a_set_that_brings_half_of_what_fetches_does_not_hold_up_a_small_board():
    board = Board(OLD)
    board.small = True
    offer = the_offer(board, board.sender.syncs, NEW)
    is_status(board.syncs(NEW), "installed|set|")
    write(".mqtt-ota/offer", offer)
    board.failing["mqtt_ota_fetch"] = OSError("only a part of it is there")
    equal(board.boot(announces=False, connect=int), 0)
    equal((board.module.read("boots"), board.module.trial is None), ("1 0 0 .", False))


def a_set_that_is_in_place_is_told_whatever_the_modules_are_that_came_with_it():
    for module in "mqtt_ota_commit", "mqtt_ota_single":
        board = Board(OLD)
        board.replaced[module] = {"hidden": lambda *_: raises(AttributeError("it is of another version"))}
        is_status(board.syncs(NEW), "installed|set|%s| and resets" % name_of(NEW))


def a_board_announces_itself_though_what_tells_of_sets_does_not_fit():
    for problem in MemoryError(), OSError("only a part of it is there"):
        board = Board(OLD)
        board.failing["mqtt_ota_report"] = problem
        said = board.announce()
        equal((said["v"], "set" in said), ("1", False))


def a_board_whose_modules_are_of_two_versions_says_so_and_not_that_the_offer_is_bad():
    board = Board(OLD)
    board.replaced["mqtt_ota_part"] = {"steps": lambda *_: raises(AttributeError("other version"))}
    is_status(board.sends("main.py", b"newer"), "failed|main.py|%s|write other version" % hexadecimal(sha256(b"newer").digest()))
    board = Board(OLD)
    board.failing["mqtt_ota_work"] = OSError("only a part of it is there")
    is_status(board.sends("main.py", b"newer"), "failed|main.py|%s|write only a part" % hexadecimal(sha256(b"newer").digest()))
    equal(board.ota._asked, True)


def what_became_of_an_offer_is_told_though_what_words_it_does_not_fit():
    digest = hexadecimal(sha256(b"newer").digest())
    board = Board(OLD)
    board.failing["mqtt_ota_answer"] = MemoryError()
    equal(board.sends("main.py", b"newer"), "installed|main.py|%s| and resets" % digest)
    equal(tree()["main.py"], b"newer")
    board = Board(OLD)
    board.boot(announces=False, connect=no_network, at_boot=True)
    board.failing["mqtt_ota_answer"] = MemoryError()
    equal(board.sends("main.py", b"newer"), "receiving|main.py|%s|at-boot and resets" % digest)
    equal(board.module.there("offer"), True)


def what_is_no_update_does_not_reset_a_board_whose_heap_is_full():
    board = Board(OLD)
    board.boot(announces=False, connect=no_network)
    board.failing["mqtt_ota_work"] = MemoryError()  # so that the boot has to do it
    digest = "0" * 40
    for message in "hello", "", "a|b|c|d", "h|1|f|" + digest[1:], "h|1|f|" + "z" * 40, "h|x|f|" + digest, "h" * 2000:
        is_status(board.hears(message), "failed|")
        equal((board.module.there("offer"), board.ota._reboot), (False, False))
    offer = "127.0.0.1|1|main.py|" + hexadecimal(sha256(OLD["main.py"]).digest())
    is_status(board.hears(offer), "installed|main.py|")
    # A set, too, but not one of whose files another was sent.
    offer = the_offer(board, board.sender.syncs, NEW).decode()
    del board.failing["mqtt_ota_work"]
    board.puts(NEW)
    board.boot(announces=False, connect=no_network)
    board.failing["mqtt_ota_work"] = MemoryError()
    is_status(board.hears(offer), "installed|set|%s|unchanged" % name_of(NEW))
    is_status(board.hears(offer + "|dry=1"), "failed|set|%s|no-memory" % name_of(NEW))
    for after, detail in (False, "postponed"), (90, "postponed after=90"):
        board.ota.allow = lambda file: after
        status = board.hears("127.0.0.1|1|main.py|%s" % digest)
        equal((status, board.module.there("offer")), ("failed|main.py|%s|%s" % (digest, detail), False))
    board.ota.allow = lambda file: True
    write(".mqtt-ota/was", b"")
    is_status(board.hears(offer), "receiving|set|%s|at-boot" % name_of(NEW))


def what_is_in_place_is_told_though_the_module_that_words_it_is_gone():
    board = Board(OLD)
    board.failing["mqtt_ota_answer"] = OSError("no module named mqtt_ota_answer")
    is_status(board.syncs(NEW), "installed|set|%s|" % name_of(NEW))


def an_offer_needs_no_module_that_prepares_for_it():
    board = Board(OLD)
    board.failing["mqtt_ota_prepare"] = OSError("only a part of it is there")
    board.boot()
    is_status(board.sends("main.py", b"newer"), "installed|main.py|")


@on_a_board
def a_set_that_brings_half_of_what_watches_over_it_is_taken_back():
    for module in "mqtt_ota_guard", "mqtt_ota_trial":
        board = Board(OLD)
        board.syncs(NEW)
        board.failing[module] = OSError("%s: only a part of it is there" % module)
        board.boot(announces=False, patience=7, timer="wdt")
        board.failing.clear()
        told = board.announce()
        equal((told["rolled-back"], told["error"]), (name_of(NEW), module + ": only a part of it is there"))
        equal({path: data for path, data in tree().items() if data is not None}, OLD)


def a_set_that_is_committed_is_gone_on_with_whatever_does_not_fit():
    board = Board(OLD)
    load = board.load

    def loads(name):
        if name == "mqtt_ota_later" or name == "mqtt_ota_journal" and board.module.there("commit"):
            raise MemoryError
        return load(name)

    board.load = loads
    is_status(board.syncs(NEW), "receiving|set|")  # and no other status before the reset
    equal(board.module.there("commit"), True)
    board.load = load
    equal(board.boot(), 1)
    equal({path: data for path, data in tree().items() if data is not None}, both(OLD, NEW))


def a_manifest_is_no_progress_of_a_set():
    board = Board(OLD)
    totals = []
    board.ota.progress = lambda done, total: totals.append(total)
    board.syncs(NEW)
    equal([total for total in totals if total][0], sum([len(NEW[path]) for path in NEW]))


def a_board_without_boot_py_lives_on_though_it_cannot_announce_itself():
    board = Board(OLD)
    unload()
    import mqtt_ota

    board.ota = mqtt_ota.Ota("X", board.publish, ROOT, reset)
    import mqtt_ota_load

    mqtt_ota_load.__import__ = lambda name: raises(ImportError(name)) if name == "mqtt_ota_announce" else __import__(name)
    board.published.clear()
    board.ota.message(board.ota.topic, b"announce")
    board.ota._answered -= 10000
    board.ota.poll()
    equal(board.published, [])
    is_status(board.sends("main.py", b"newer"), "installed|main.py|")


def an_offer_to_each_of_two_devices_in_one_process_is_taken():
    if sys.implementation.name == "micropython":
        return  # a board has one
    for digest, detail in ((lambda path: hexadecimal(sha256(OLD[path]).digest())), "unchanged"), ((lambda path: "0" * 40), "connect"):
        board = Board(OLD)
        steps = []
        for name, path in ("X", "main.py"), ("Y", "data.txt"):
            ota = board.client.Ota(name, board.publish, ROOT, reset)
            ota.message(ota.topic, ("127.0.0.1|1|%s|%s|0" % (path, digest(path))).encode())
            steps.append(ota.steps())
        said = []
        while steps:
            for each in list(steps):
                try:
                    status = next(each)
                    if status:
                        said.append(status.split("|"))
                except StopIteration:
                    steps.remove(each)
        equal([it[3].split(" ")[0] for it in said if it[0] != "receiving"], [detail] * 2)


def an_offer_that_cannot_be_read_is_not_in_the_way_at_boot():
    for offer in (b"hello", b"\xff\xfe|1", b"a|b|c", b"127.0.0.1|1|x|" + b"0" * 40):
        board = Board(OLD)
        equal(boots_to_fetch(board, offer, no_network), True)
        equal([name for name in board.state() if name in ("offer", "tries")], [])
        board.boot(announces=False)
        board.announce()
        said = [text for text in board.published if text.startswith("failed|")]
        if len(said) != 1 or "no network" not in said[0] or "said" in board.state():
            raise AssertionError((offer, board.published))
        is_status(board.sends("main.py", b"newer"), "installed|main.py|")


def a_set_on_trial_is_not_reset_for_an_offer():
    board = Board(OLD)
    board.syncs(NEW)
    board.boot(confirms=False, connect=no_network, at_boot=True)
    for status in board.syncs(OLD), board.sends("main.py", b"newer"):
        equal((status.split("|")[0], status.split("|")[3]), ("failed", "busy a set is on trial"))


def a_rollback_that_is_left_in_the_middle_goes_on_to_its_end():
    for stop in range(1, 8):
        board = Board(OLD)
        before = tree()
        board.puts(NEW)
        board.ota.message(b"X/OTA", b"0.0.0.0|1|set|%s|1|id=0123456789abcdef|size=0|rollback=1" % name_of(NEW).encode())
        steps = board.ota.steps()
        try:
            for _ in range(stop):
                next(steps)
        except (Reset, StopIteration):
            pass
        steps.close()
        equal(tree(), before)


@on_a_board
def a_crash_is_one_of_the_set_only_if_the_board_has_booted_it():
    board = Board(OLD)
    board.syncs(NEW)
    crashes_before = len(board.published)
    try:
        crashes(board)
    except Reset:
        pass
    equal((board.module.read("error"), crashes_before), ("", len(board.published)))


@on_a_board
def a_board_without_wifi_is_judged_as_one_that_has_the_network():
    board = Board(OLD)
    wlan = Network.WLAN
    del Network.WLAN
    try:
        board.syncs(NEW)
        board.boot()
        equal(board.announce()["set"], name_of(NEW))
        equal("trial" in board.state(), False)
    finally:
        Network.WLAN = wlan


@on_a_board
def whatever_kills_the_application_the_board_comes_back():
    class Cancelled(BaseException):
        pass

    def dies_of(problem):
        board.replaced["mqtt_ota_run"] = {"__import__": lambda name: raises(problem)}
        try:
            board.module.run("app")
        except Reset:
            return True
        except (KeyboardInterrupt, SystemExit):
            return False

    board = Board(OLD)
    for problem, resets in ((MemoryError(), True), (Cancelled(), True), (KeyboardInterrupt(), False), (SystemExit(), False)):
        equal((problem, dies_of(problem)), (problem, resets))

    board.failing["mqtt_ota_safe"] = MemoryError()
    equal((dies_of(ValueError()), board.module.read("crashes")), (True, "..."))


def offers_that_come_all_the_time_do_not_hold_the_application():
    board = Board(OLD)
    said = []

    def publish(topic, message, retain):
        said.append(message)
        board.ota.message(b"X/OTA", b"junk|%d" % len(said))

    board.ota.publish = publish
    for _ in range(3):
        board.ota.message(b"X/OTA", b"junk")
    board.ota.poll()
    equal(len(said), 3)


def a_stream_that_drips_is_given_up():
    board = Board(OLD)
    file = b"x" * 60000
    board.ota.rate = 1024
    status = board.sends("x", file)
    is_status(status, "failed|x|%s|timeout " % hexadecimal(sha256(file).digest()))
    equal(status.split(" ", 2)[2], "bytes in a minute")
    board.ota.rate = 0
    is_status(board.sends("x", file), "installed|x|")


def an_application_can_put_an_update_off():
    board = Board(OLD)
    asked = []
    for answer, detail in ((False, "postponed"), (60, "postponed after=60")):
        board.ota.allow = lambda file: asked.append(file) or answer
        equal(board.sends("main.py", b"newer").split("|")[3], detail)
        refused(board, board.syncs(NEW), detail)
    equal((asked, tree()["main.py"]), (["main.py", "set"] * 2, b"old"))
    board.ota.allow = lambda file: None
    is_status(board.sends("main.py", b"newer"), "installed|")


def an_application_sees_how_far_an_update_is():
    board = Board(OLD)
    seen = []
    fed = []
    board.ota.progress = lambda done, total: seen.append((done, total))
    board.ota.before_reboot = lambda: seen.append("reboots")
    board.ota.log = lambda text: fed.append(text)
    size = sum([len(data) for data in NEW.values()])
    is_status(board.syncs(NEW), "installed|set|")
    equal((seen[-2], seen[-1]), ((size, size), "reboots"))
    equal(len(fed), 1)


def an_application_s_callback_gets_what_its_client_gives_it():
    board = Board(OLD)

    class Client:
        cb = None

    client = Client()
    heard = []
    client.cb = lambda *message: heard.append(message)
    board.client.attach(client, "X", root=ROOT, reset=reset)
    client.cb(b"lamp", b"on")
    client.cb(b"lamp", b"off", True, False)  # as umqtt.simple2 does
    client.cb(b"X/OTA", b"junk", True, False)
    equal(heard, [(b"lamp", b"on"), (b"lamp", b"off", True, False)])


def an_option_that_there_is_not_is_refused():
    for option in "alow", "steps", "root_":
        try:
            Board(OLD).client.Ota("X", None, ROOT, reset, **{option: print})
            raise AssertionError(option)
        except TypeError:
            pass


def run():
    wanted = sys.argv[2:]
    names = sorted([name for name in globals() if name[:2] == "a_" or name[:3] in ("an_", "off", "wha")])
    failed = 0
    for name in names:
        if wanted and name not in wanted:
            continue
        try:
            globals()[name]()
        except Exception as problem:
            failed += 1
            print("%s: %s: %s" % (name, type(problem).__name__, problem))
            if wanted:
                raise
    print("%d tests, %d failed" % (len(names), failed))


run()
