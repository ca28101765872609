/// Raises the number of open files and connections of this process, and of what it starts from now on, to the system's
/// limit. Returns that number.
#[cfg(unix)]
pub fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the system refuses, the code that needs the files fails with a message of its own.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|current| current.try_into().ok()).unwrap_or(usize::MAX)
}

/// Returns the largest number, as there is no limit to raise.
#[cfg(not(unix))]
pub fn raise_open_files() -> usize {
    usize::MAX
}
