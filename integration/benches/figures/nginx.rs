use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use mqtt_ota_integration::free_port;
use tempfile::TempDir;

/// Log message of nginx once it takes connections.
const READY: &str = "start worker process ";

/// Real nginx that serves one file, on a free port of the loopback address and with a configuration of its own.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    /// Pipe of nginx's log. If it were closed, writing to it would be an error.
    _log: BufReader<ChildStderr>,
    _folder: TempDir,
}

impl Nginx {
    /// Starts nginx with `bytes` as `/main.py`, and returns once it takes connections.
    ///
    /// # Errors
    /// Returns the reason if nginx is not installed or does not start.
    pub(crate) fn serving(bytes: &[u8]) -> Result<Self, String> {
        let program = find().ok_or("nginx is not installed (Debian: nginx-light)")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        fs::write(folder.path().join("main.py"), bytes).expect("a file is written");
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), address)).expect("a file is written");
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("nginx: {error}"))?;
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains(READY) {
            if log.read_line(&mut said).map_or(0, |read| read) == 0 {
                let _ = child.wait();
                return Err(format!("nginx does not start: {said}"));
            }
        }
        Ok(Self { child, address, _log: log, _folder: folder })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // If nginx were killed, its workers would stay behind.
        #[cfg(unix)]
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .collect();
    // Otherwise the workers would run as another user, who cannot read this folder.
    let user = if is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;\nworker_processes auto;\npid {folder}/pid;\nerror_log stderr notice;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\nsendfile on;\n{temporary}\
         server {{ listen {address}; root {folder}; }}\n}}\n"
    )
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join("nginx"))
        .find(|file| file.is_file())
}
