//! The type stubs say what the modules are, and the page's and the template's code is such as they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use mqtt_ota_integration::companion;

use crate::page::{Checkout, blocks, line, lines, text, tools};

/// What a stub calls an attribute, as applications replace it, and the module a method.
const REPLACED: &str = "mqtt_ota(_umqtt)?\\.Ota\\.alive\n";

/// Compares the stubs of a folder with the modules. Returns what differs.
fn differences(typings: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("allowed"), REPLACED).unwrap();
    let mut command = Command::new(tools().join("bin/python"));
    command.args(["-m", "mypy.stubtest", "--concise", "--ignore-missing-stub", "--allowlist", "allowed"]);
    for entry in fs::read_dir(typings).unwrap() {
        command.arg(entry.unwrap().path().file_stem().unwrap());
    }
    command.env("MYPYPATH", typings).env("PYTHONPATH", companion()).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said.into_owned()
}

#[test]
fn the_stubs_are_those_of_the_modules() {
    let typings = companion().join("typings");
    assert_eq!(differences(&typings), "");
    // It would say so if they were not.
    for (file, right, wrong) in [
        ("mqtt_ota.pyi", "def poll(self)", "def pool(self)"),
        ("mqtt_ota_boot.pyi", "patience: int = 120", "patience: int = 60"),
        ("mqtt_ota_asyncio.pyi", "async def start", "def start"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&typings).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let stub = text(&typings.join(file));
        assert!(stub.contains(right), "{right}");
        fs::write(folder.path().join(file), stub.replace(right, wrong)).unwrap();
        assert_ne!(differences(folder.path()), "", "{wrong}");
    }
}

/// Prints the keywords that a function of a stub has. `Ota` is the class's constructor.
const KEYWORDS: &str = "\
import ast, sys
path, name = sys.argv[1:]
body = ast.parse(open(path).read()).body
found = [item for item in body if getattr(item, 'name', None) == name][0]
if name == 'Ota':
    found = [item for item in found.body if getattr(item, 'name', None) == '__init__'][0]
print(*[argument.arg for argument in found.args.args + found.args.kwonlyargs])
";

fn keywords(stub: &str, function: &str) -> BTreeSet<String> {
    let mut command = Command::new("python3");
    command.args(["-c", KEYWORDS]).arg(companion().join("typings").join(stub)).arg(function);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn every_option_of_the_page_is_in_the_stubs_and_in_the_module() {
    let page = text(&companion().join("README.md"));
    let section = page.split("\n### Options\n").nth(1).unwrap().split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|row| row.strip_prefix("| `"));
    let options: BTreeSet<_> = rows.map(|row| row.split(['`', '(']).next().unwrap().to_owned()).collect();
    assert!(options.len() > 8 && options.contains("feed"), "{options:?}");

    let without = |set: BTreeSet<String>, out: &[&str]| -> BTreeSet<String> {
        set.into_iter().filter(|word| !out.contains(&word.as_str())).collect()
    };
    assert_eq!(without(keywords("mqtt_ota.pyi", "attach"), &["client", "name"]), options);
    assert_eq!(without(keywords("mqtt_ota.pyi", "Ota"), &["self", "name", "publish"]), options);
    assert_eq!(without(keywords("mqtt_ota_asyncio.pyi", "Ota"), &["self", "client", "name"]), options);
    let further = without(options.clone(), &["root", "reset"]);
    let (boot, run) = (keywords("mqtt_ota_boot.pyi", "boot"), keywords("mqtt_ota_boot.pyi", "run"));
    assert!(further.is_subset(&boot) && further.is_subset(&run), "{further:?} {boot:?} {run:?}");

    // What boot() and run() say of themselves.
    let module = text(&companion().join("mqtt_ota_boot.py"));
    for (function, own, others) in [
        ("boot", without(boot, &[]), set(&["client", "device"])),
        ("run", without(run, &[]), BTreeSet::new()),
    ] {
        let docstring = module.split(&format!("\ndef {function}(")).nth(1).unwrap();
        let docstring = docstring.split("\"\"\"").nth(1).unwrap();
        let told = docstring.lines().filter_map(|line| line.strip_prefix("    ")?.split_once("  "));
        let told: BTreeSet<_> = told.map(|(option, _)| option.to_owned()).collect();
        let stubs: BTreeSet<_> = own.difference(&further).cloned().collect();
        assert_eq!(told, stubs.difference(&others).cloned().collect(), "{function}");
    }

    // The module takes each of them, and no other.
    let made = |option: &str| {
        let code = format!(
            "import mqtt_ota, sys, tempfile\noptions = dict(root=tempfile.gettempdir(), reset=print)\noptions[{option:?}] = options.get({option:?}, print)\nmqtt_ota.Ota('N', **options)"
        );
        let mut command = Command::new("python3");
        command.args(["-B", "-c", &code]).env("PYTHONPATH", companion());
        command.output().unwrap().status.success()
    };
    for option in &options {
        assert!(made(option), "{option}");
    }
    assert!(!made("allows"));
}

/// A block of the page as a program, with what comes before it.
fn program(block: &str) -> String {
    let mut program =
        "from typing import Any\nimport asyncio, mqtt_ota, mqtt_ota_asyncio, mqtt_ota_boot, mqtt_ota_umqtt\n"
            .to_owned();
    for (defined, before) in [("ota = ", "ota: mqtt_ota_umqtt.Ota\n"), ("client = ", "client: Any\n")] {
        if !block.contains(defined) && !block.contains("def client") {
            program += before;
        }
    }
    if block.contains("await ") {
        program + "async def program() -> None:\n    " + &block.replace('\n', "\n    ")
    } else {
        program + block
    }
}

/// The code that has something wrong of each kind, so that it shows whether that is found.
const WRONG: &str = "\
from umqtt.simple import MQTTClient

import mqtt_ota, mqtt_ota_boot

client = MQTTClient('N', 'iot.lan')
mqtt_ota.attach(client, 'N', limits=3)
mqtt_ota.attach(client, 'N', allow=3)
mqtt_ota.attach('N', 'N')
mqtt_ota.attach(client, 'N').begin()
mqtt_ota_boot.run('app', client=client)
";

#[test]
fn the_code_of_the_page_the_template_and_the_examples_is_as_the_stubs_say() {
    let checkout = Checkout::new();
    checkout.does(&lines("## Start", "sh")[0]);
    checkout.does(&line("### In an editor", "sh", "cp "));
    // What the other line takes from an index.
    let cached = tools().join("typings");
    assert!(line("### In an editor", "sh", "pip ").ends_with(" nightlamp/typings micropython-esp32-stubs"));
    checkout.does(&format!("cp -r {}/. nightlamp/typings", cached.display()));

    checkout.does("cp micropython-client/examples/*.py nightlamp");
    let mut checked = 0;
    for block in blocks(&text(&companion().join("README.md")), "python") {
        // Those for Linux have other modules.
        let linux = block.contains("paho") || block.contains("aiomqtt");
        if !block.contains("mqtt_ota") || block.contains("include(") || linux {
            continue;
        }
        checked += 1;
        fs::write(checkout.path(&format!("nightlamp/page{checked}.py")), program(&block)).unwrap();
    }
    assert!(checked >= 6, "{checked} blocks");
    fs::write(checkout.path("nightlamp/wrong.py"), WRONG).unwrap();

    let mypy = tools().join("bin/mypy");
    let output = checkout.runs(&format!(
        "cd nightlamp && MYPYPATH=typings {} --custom-typeshed-dir typings --no-site-packages --check-untyped-defs *.py",
        mypy.display()
    ));
    let said = String::from_utf8_lossy(&output.stdout);
    // MicroPython's stubs have mistakes of their own.
    let ours = |line: &&str| !line.starts_with("typings/") || line.starts_with("typings/mqtt_ota");
    let errors: Vec<_> = said.lines().filter(|line| line.contains(" error: ")).filter(ours).collect();
    let (found, others): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(|line| line.starts_with("wrong.py:"));
    let has_no_stubs = |line: &str| line.contains("\"mqtt_as\"") || line.contains("\"umqtt.simple2\"");
    let other = others.into_iter().find(|line| !has_no_stubs(line));
    assert_eq!(other, None, "{said}");
    for line in 6..=10 {
        let at = format!("wrong.py:{line}:");
        assert!(found.iter().any(|error| error.starts_with(&at)), "{line}: {said}");
    }
}
