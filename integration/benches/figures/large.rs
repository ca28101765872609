use std::fs;

use crate::baseline;
use crate::content::write_random;
use crate::peak::Peak;
use crate::place::Place;
use crate::run::Measured;
use crate::sample::Sample;
use crate::stage::Stage;

const MIB: usize = 256;

/// How often each is measured.
const ROUNDS: usize = 9;

/// The hash functions of the protocol. A device that announces both, as the Rust receiver does, gets the
/// first; `sha1` is measured with an announcement of that one alone.
const ALGORITHMS: [&str; 2] = ["sha256", "sha1"];

/// A large file: against hashing it once and moving it once. The sender cannot make an offer before it has
/// hashed the file, and the device cannot say "installed" before it has, so the whole process is also
/// compared with hashing it twice and moving it once.
pub(crate) fn measure() {
    let bytes = MIB << 20;
    println!("{MIB} MiB to `mqtt-ota receive`, {ROUNDS} rounds");
    let source = Place::disk();
    let file = source.file("image.bin");
    write_random(&file, bytes);
    for algorithm in ALGORITHMS {
        for place in Place::all(bytes as u64) {
            let (mut hash, mut moving) = (Sample::default(), Sample::default());
            let (mut whole, mut delivery) = (Sample::default(), Sample::default());
            let mut peak = None::<Peak>;
            let stage = Stage::set(place.path());
            stage.announce(algorithm);
            for _ in 0..ROUNDS {
                hash.add(baseline::hash(algorithm, bytes));
                moving.add(baseline::move_over_loopback(bytes));
                let measured: Measured = stage.send(&file).arg("--no-reboot").measure();
                whole.add(measured.whole);
                delivery.add(measured.delivery);
                peak = peak.max(Some(measured.peak));
                // Else the device would answer that nothing has changed.
                fs::remove_file(place.file("image.bin")).expect("the device has the file");
            }
            let once = hash.median() + moving.median();
            let twice = once + hash.median();
            println!("  {algorithm}, device's files in {place}");
            println!("    hash it once        {hash}");
            println!("    move it once        {moving}");
            println!("    whole process       {whole}, {:.2} of the sum (goal: 1.3)", whole.over(once));
            println!("      with both hashes  {:43} {:.2} of the sum", "", whole.over(twice));
            println!("    offer to installed  {delivery}, {:.2} of the sum", delivery.over(once));
            if let Some(peak) = peak {
                println!("    peak memory         {peak} (goal: under 16 MiB)");
            }
        }
    }
}
