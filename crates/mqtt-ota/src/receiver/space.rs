use super::failure::Failure;
use crate::wire::Reason;

/// What a file takes is a multiple of this on most file systems, in bytes.
const BLOCK: u64 = 4096;

/// What a file of so many bytes takes of the disk, in bytes.
pub(super) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// Makes sure that there is room; nobody knows where the system does not tell.
pub(super) fn check(needed: u64, free: Option<u64>) -> Result<(), Failure> {
    match free {
        Some(free) if needed > free => {
            Err(Failure::new(Reason::NoSpace, format!("{needed} bytes needed, {free} free")))
        }
        _ => Ok(()),
    }
}
