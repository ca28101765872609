/// Lets this process, and what it starts from now on, have as many files and connections open as the system allows
/// it. Returns how many those are.
#[cfg(unix)]
pub fn raise_open_files() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is not allowed, what needs them says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|current| current.try_into().ok()).unwrap_or(usize::MAX)
}

/// As many as there may be.
#[cfg(not(unix))]
pub fn raise_open_files() -> usize {
    usize::MAX
}
