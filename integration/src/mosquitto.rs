use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::authority::Authority;
use crate::endpoint::Endpoint;
use crate::port::free_port;
use crate::process::{Process, captured};

/// Folders besides the PATH in which Debian and others install the broker.
const FOLDERS: [&str; 4] =
    ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/usr/local/opt/mosquitto/sbin"];

/// Maximum number of attempts with another port, if another process takes the free one first.
const TRIES: usize = 5;

/// Settings of a [`Mosquitto`].
#[derive(Debug, Default)]
pub struct Settings {
    /// True if the broker demands a client certificate by the authority of `tls`. The common name is the user.
    pub wants_client_certificate: bool,
    /// Only user and password that the broker lets in. `None` lets everybody in.
    pub login: Option<(&'static str, &'static str)>,
    /// Authority for a second listener, with TLS and a certificate by this authority.
    pub tls: Option<Authority>,
    /// Further lines of the configuration file.
    pub lines: Vec<&'static str>,
    /// Whole configuration file of a user, with the user's ports and paths.
    pub whole: Option<String>,
    /// Files that the broker finds in `/etc/mosquitto`, as a whole configuration names them.
    pub files: Vec<PathBuf>,
    /// Lines of the access control file. Without any, everything is allowed.
    pub access: Vec<&'static str>,
    /// True if the broker does not log what clients do. For figures: otherwise it writes several lines for each
    /// message.
    pub is_quiet: bool,
}

/// Real Mosquitto on a free port of the loopback address. Killed when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    settings: Settings,
    folder: TempDir,
    address: SocketAddr,
    tls_address: SocketAddr,
    process: Option<Process>,
}

impl Mosquitto {
    /// Starts a broker that lets everybody in, and returns when it takes connections.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts a broker with `settings`, and returns when it takes connections.
    pub fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut mosquitto = Self { settings, folder, address: nowhere, tls_address: nowhere, process: None };
        mosquitto.write_files();
        for _ in 0..TRIES {
            mosquitto.address.set_port(free_port());
            mosquitto.tls_address.set_port(free_port());
            match mosquitto.run() {
                Ok(()) => return mosquitto,
                Err(log) if log.contains("Address already in use") => (),
                Err(log) => panic!("mosquitto did not start:\n{log}"),
            }
        }
        panic!("no free port for mosquitto in {TRIES} tries");
    }

    /// Returns the address of the TLS listener.
    pub fn tls_address(&self) -> SocketAddr {
        let is_in_whole = |whole: &String| whole.contains("listener 8883");
        assert!(
            self.settings.tls.is_some() || self.settings.whole.as_ref().is_some_and(is_in_whole),
            "this broker has no TLS listener"
        );
        self.tls_address
    }

    /// Returns the path of the certificate that a client has to trust to connect to [`Self::tls_address`].
    pub fn ca_file(&self) -> PathBuf {
        self.settings.tls.as_ref().expect("a broker with TLS").ca_file()
    }

    /// Stops the broker. Clients see their connections close, and retained messages are forgotten.
    pub fn stop(&mut self) {
        self.process.take().expect("a running broker").kill();
    }

    /// Starts the broker again, on the same ports, after [`Self::stop`].
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the broker is running");
        if let Err(log) = self.run() {
            panic!("mosquitto did not start again:\n{log}");
        }
    }

    /// Returns the running broker. The log is on its standard error.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a running broker")
    }

    fn run(&mut self) -> Result<(), String> {
        fs::write(self.file("mosquitto.conf"), self.configuration()).expect("a file is written");
        let mut command = Command::new(find());
        command.args((!self.settings.is_quiet).then_some("-v")).arg("-c").arg(self.file("mosquitto.conf"));
        let process = Process::start("mosquitto", {
            captured(&mut command);
            command
        });
        // The line comes after all listeners are open. If the broker gives up instead, the log ends.
        let ready = process.stderr().has_line_before_end(" running");
        if ready {
            self.process = Some(process);
            Ok(())
        } else {
            Err(process.stderr().text())
        }
    }

    fn configuration(&self) -> String {
        // A broker that root starts would otherwise become another user, who cannot read this folder.
        let mut text = String::from("user root\nlog_dest stderr\nlog_timestamp false\n");
        if let Some(whole) = &self.settings.whole {
            let listener = |address: SocketAddr| format!("listener {} {}", address.port(), address.ip());
            let folder = format!("{}/", self.folder.path().display());
            let replaced = whole
                .replace("listener 1883", &listener(self.address))
                .replace("listener 8883", &listener(self.tls_address))
                .replace("/etc/mosquitto/", &folder)
                .replace("/var/lib/mosquitto/", &folder);
            return text + &replaced;
        }
        match self.settings.login {
            None => text.push_str("allow_anonymous true\n"),
            Some(_) => {
                let _ = writeln!(
                    text,
                    "allow_anonymous false\npassword_file {}",
                    self.file("passwords").display()
                );
            }
        }
        if !self.settings.access.is_empty() {
            let _ = writeln!(text, "acl_file {}", self.file("access").display());
        }
        if self.settings.is_quiet {
            text.push_str("connection_messages false\n");
        }
        for line in &self.settings.lines {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text, "listener {} {}", self.address.port(), self.address.ip());
        if let Some(authority) = &self.settings.tls {
            let _ = writeln!(
                text,
                "listener {} {}\ncertfile {}\nkeyfile {}",
                self.tls_address.port(),
                self.tls_address.ip(),
                authority.certificate_file().display(),
                authority.key_file().display(),
            );
            if self.settings.wants_client_certificate {
                let ca = authority.ca_file();
                let _ = writeln!(
                    text,
                    "cafile {}\nrequire_certificate true\nuse_identity_as_username true",
                    ca.display()
                );
            }
        }
        text
    }

    fn write_files(&self) {
        for file in &self.settings.files {
            let name = file.file_name().expect("a file has a name");
            fs::copy(file, self.folder.path().join(name)).expect("a file is copied");
        }
        if !self.settings.access.is_empty() {
            fs::write(self.file("access"), self.settings.access.join("\n") + "\n")
                .expect("a file is written");
        }
        if let Some((user, password)) = self.settings.login {
            let mut command = Command::new("mosquitto_passwd");
            command.arg("-b").arg("-c").arg(self.file("passwords")).arg(user).arg(password);
            captured(&mut command);
            Process::start("mosquitto_passwd", command).wait().assert_status(0);
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Endpoint for Mosquitto {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn login(&self) -> Option<(&str, &str)> {
        self.settings.login
    }
}

fn find() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join("mosquitto"))
        .find(|file| Path::is_file(file))
        .expect("Mosquitto is installed: integration/test.sh does that")
}
