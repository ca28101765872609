use super::failure::Failure;
use crate::wire::Reason;

/// Size of a block on most file systems, in bytes. The space that a file takes is a multiple of it.
const BLOCK: u64 = 4096;

/// Returns the disk space that a file of this size takes, in bytes.
pub(super) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Checks that there is room. Succeeds if the system does not report its free space.
pub(super) fn check(needed: u64, free: Option<u64>) -> Result<(), Failure> {
    match free {
        Some(free) if needed > free => {
            Err(Failure::new(Reason::NoSpace, format!("{needed} bytes needed, {free} free")))
        }
        _ => Ok(()),
    }
}
