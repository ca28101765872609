//! Sets over links that split, delay, close, reset and forget what passes, at random.
//!
//! `CHAOS_RUNS` says how many (1,000 in the thorough tier); a run's number is its seed, and says which device it is for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use mqtt_ota_integration::{Chaos, GUARD, Home, Interpreter, free_port, noise, sized};

const NAME: &str = "NIGHTLAMP";
/// Devices at work at once: they wait most of the time.
const AT_ONCE: u64 = 192;
const BREAKS: usize = 6;
/// How long a set may take, should each break be a silence: a receiver waits 20 s then, the companion client 10 s.
const PATIENCE: Duration = Duration::from_secs(GUARD.as_secs() + 20 * BREAKS as u64);
/// The most that one of the bad connections brings, in bytes: a quarter of what there is to bring.
const MOST: usize = 25_000;

#[derive(Debug, Clone, Copy)]
enum Device {
    Companion(Interpreter),
    Receiver,
}

#[test]
fn a_bad_link_ends_in_the_whole_set() {
    let quick_or_full = |_| sized(1000, 48);
    let runs: u64 = std::env::var("CHAOS_RUNS").map_or_else(quick_or_full, |runs| runs.parse().unwrap());
    let connections = AtomicU64::new(0);
    thread::scope(|scope| {
        for place in 0..AT_ONCE.min(runs) {
            let connections = &connections;
            let device = match place % 8 {
                0 => Device::Companion(Interpreter::Python3),
                1 => Device::Receiver,
                _ => Device::Companion(Interpreter::MicroPython),
            };
            scope.spawn(move || {
                let home = Home::of(NAME);
                let _device: Box<dyn std::any::Any> = match device {
                    Device::Companion(interpreter) => Box::new(home.boots(interpreter)),
                    Device::Receiver => Box::new(home.receives()),
                };
                for seed in (place..runs).step_by(AT_ONCE as usize) {
                    connections.fetch_add(sync(&home, device, seed), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{runs} sets installed over {} connections", connections.into_inner());
}

/// Changes the folder, and sends it over a bad link. Yields how many connections that took.
fn sync(home: &Home, device: Device, seed: u64) -> u64 {
    let seed_byte = (seed % 251) as u8;
    home.has("large.bin", noise(seed_byte, 100_000 + seed as usize % 5000));
    home.has("main.py", format!("VERSION = {seed}\n"));
    home.has("lib/small.bin", noise(seed_byte, seed as usize % 700));
    let port = free_port();
    let link = Chaos::to(port, seed, BREAKS, MOST);
    let synced = home
        .sync()
        .args(["--listen", &format!("127.0.0.1:{port}"), "--advertise", &link.advertised()])
        .args(["--json", "--wait-boot"])
        .finish_within(PATIENCE);
    assert_eq!(synced.status(), Some(0), "seed {seed}, {device:?}: {synced:?}");
    assert_eq!(synced.result()["outcome"], "installed", "seed {seed}, {device:?}: {synced:?}");
    home.assert_same();
    // What came over is on flash and does not come again: the device asks for less each time.
    let positions: Vec<_> = synced
        .json_lines()
        .iter()
        .filter(|line| line["event"] == "asked" && line["path"] == "large.bin")
        .map(|line| line["offset"].as_u64().unwrap())
        .collect();
    assert!(positions.is_sorted(), "seed {seed}, {device:?}: {positions:?}");
    assert!(link.connections() > 3, "seed {seed}, {device:?}: {} connections", link.connections());
    link.connections() as u64
}
