use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Number of bytes that are written at once.
const CHUNK: usize = 1 << 20;

/// Fills the file `path` with `bytes` random bytes, which no device has yet. The file is synced here, so that the
/// system does not write it during a measurement.
pub(crate) fn write_random(path: &Path, bytes: usize) {
    let mut file = File::create(path).expect("a file is made");
    let mut chunk = vec![0; bytes.min(CHUNK)];
    let mut left = bytes;
    while left > 0 {
        fastrand::fill(&mut chunk);
        let now = left.min(CHUNK);
        file.write_all(&chunk[..now]).expect("a file is written");
        left -= now;
    }
    file.sync_all().expect("a file is synced");
}
