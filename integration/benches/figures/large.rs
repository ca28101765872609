use std::fs;

use crate::baseline;
use crate::content::write_random;
use crate::peak::Peak;
use crate::place::Place;
use crate::run::Measured;
use crate::sample::Sample;
use crate::stage::Stage;
use crate::steal::undisturbed;

const MIB: usize = 256;

/// Number of rounds of each measurement.
const ROUNDS: usize = 9;

/// Hash function that the device announces. With `None` the Rust receiver announces all that it has, and takes an
/// extended offer and BLAKE3. Otherwise it has one hash function and takes plain offers, as other devices do.
const ANNOUNCED: [Option<&str>; 4] = [None, Some("blake3"), Some("sha256"), Some("sha1")];

/// Measures a large file, in comparison with hashing it once, with SHA-1, and moving it once.
///
/// The sender cannot make an offer before it has hashed the file, and the device cannot report `installed` before it
/// has.
pub(crate) fn measure() {
    let bytes = MIB << 20;
    println!("{MIB} MiB to `mqtt-ota receive`, {ROUNDS} rounds");
    let source = Place::disk();
    let file = source.file("image.bin");
    write_random(&file, bytes);
    for announced in ANNOUNCED {
        for place in Place::all(bytes as u64) {
            let (mut hash, mut own, mut moving) = (Sample::default(), Sample::default(), Sample::default());
            let (mut whole, mut delivery) = (Sample::default(), Sample::default());
            let mut peak = None::<Peak>;
            let stage = Stage::set(place.path());
            let algorithm = announced.unwrap_or("blake3");
            announced.into_iter().for_each(|algorithm| stage.announce(algorithm));
            for _ in 0..ROUNDS {
                hash.add(undisturbed(|| baseline::hash("sha1", bytes)));
                own.add(undisturbed(|| baseline::hash(algorithm, bytes)));
                moving.add(undisturbed(|| baseline::move_over_loopback(bytes)));
                let measured: Measured = undisturbed(|| {
                    let measured = stage.send(&file).arg("--no-reboot").measure();
                    // Otherwise the device would answer that nothing has changed.
                    fs::remove_file(place.file("image.bin")).expect("the device has the file");
                    measured
                });
                whole.add(measured.whole);
                delivery.add(measured.delivery);
                peak = peak.max(Some(measured.peak));
            }
            let once = hash.median() + moving.median();
            match announced {
                None => println!("  as it is, device's files in {place}"),
                Some(algorithm) => {
                    println!("  plain offers and {algorithm} alone, device's files in {place}")
                }
            }
            println!("    hash it, with SHA-1 {hash}");
            println!("    move it             {moving}");
            println!("    whole process       {whole}, {:.2} of the sum (goal: 1.3)", whole.over(once));
            println!("    offer to installed  {delivery}, {:.2} of the sum", delivery.over(once));
            println!("    hash it, with this  {own}");
            if let Some(peak) = peak {
                println!("    peak memory         {peak} (goal: under 16 MiB)");
            }
        }
    }
}
