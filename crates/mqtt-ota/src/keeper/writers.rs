//! Processes that have files open for writing, as far as this one may see them. Blocking.

use std::collections::HashMap;

/// Identity of a file: its device and number.
pub(super) type Identity = (u64, u64);

/// Files that other processes have open for writing.
#[derive(Debug, Default)]
pub(super) struct Writers {
    open: HashMap<Identity, u32>,
}

impl Writers {
    /// Returns a process that has the file open.
    pub(super) fn of(&self, file: Identity) -> Option<u32> {
        self.open.get(&file).copied()
    }

    /// Finds the files that are open now. Returns none where the system does not tell.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn now() -> Self {
        let mut writers = Self::default();
        let Ok(processes) = std::fs::read_dir("/proc") else { return writers };
        let ours = std::process::id();
        for process in processes.flatten() {
            let id = process.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(id) = id.filter(|id| *id != ours) {
                // A process that has ended meanwhile has closed its files. Processes of other users may be hidden.
                let _ = writers.look_at(id);
            }
        }
        writers
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn now() -> Self {
        Self::default()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn look_at(&mut self, process: u32) -> std::io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;

        for file in std::fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
            // The mode of the link itself is the mode that the file was opened in.
            let is_writable = file.metadata().is_ok_and(|link| link.mode() & 0o200 != 0);
            if is_writable
                && let Ok(metadata) = std::fs::metadata(file.path())
                && metadata.is_file()
            {
                self.open.insert((metadata.dev(), metadata.ino()), process);
            }
        }
        Ok(())
    }
}

/// Returns the name of a process, as in `rsync (process 812)`.
pub(super) fn name_of(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {process}"),
        name => format!("{name} (process {process})"),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::MetadataExt as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_file_that_another_process_may_write_to_is_open_and_one_that_it_reads_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (written, read) = (home.path().join("written"), home.path().join("read"));
        std::fs::write(&read, "").unwrap();
        let mut writer = Command::new("sh")
            .args(["-c", "exec 3>written 4<read; echo open; exec cat"])
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(writer.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let identity = |path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.dev(), metadata.ino())
        };
        let writers = Writers::now();
        assert_eq!(writers.of(identity(&written)), Some(writer.id()));
        assert_eq!(writers.of(identity(&read)), None);
        assert!(name_of(writer.id()).contains(&format!("process {}", writer.id())));
        drop(writer.stdin.take());
        writer.wait().unwrap();
        assert_eq!(Writers::now().of(identity(&written)), None);
    }
}
