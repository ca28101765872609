use std::path::{Path, PathBuf};
use std::process::Stdio;

use mqtt_ota::wire::DeviceName;
use mqtt_ota::{Broker, Receiver, ReceiverConfig, ReceiverEvent};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::stage::Stage;
use crate::problem::{Exit, Problem};
use crate::settings::process_environment;

/// Program that MicroPython runs as the device.
const SCRIPT: &str = include_str!("device.py");

/// Modules of the companion client that take single files. (In this repository they are symbolic links.)
const MODULES: [(&str, &str); 13] = [
    ("mqtt_ota.py", include_str!("client/mqtt_ota.py")),
    ("mqtt_ota_about.py", include_str!("client/mqtt_ota_about.py")),
    ("mqtt_ota_announce.py", include_str!("client/mqtt_ota_announce.py")),
    ("mqtt_ota_answer.py", include_str!("client/mqtt_ota_answer.py")),
    ("mqtt_ota_load.py", include_str!("client/mqtt_ota_load.py")),
    ("mqtt_ota_name.py", include_str!("client/mqtt_ota_name.py")),
    ("mqtt_ota_offer.py", include_str!("client/mqtt_ota_offer.py")),
    ("mqtt_ota_options.py", include_str!("client/mqtt_ota_options.py")),
    ("mqtt_ota_part.py", include_str!("client/mqtt_ota_part.py")),
    ("mqtt_ota_prepare.py", include_str!("client/mqtt_ota_prepare.py")),
    ("mqtt_ota_single.py", include_str!("client/mqtt_ota_single.py")),
    ("mqtt_ota_transfer.py", include_str!("client/mqtt_ota_transfer.py")),
    ("mqtt_ota_work.py", include_str!("client/mqtt_ota_work.py")),
];

/// Beginning of the line that the program prints once it has announced itself.
const BOOTED: &str = "booted";

/// Surroundings of the device.
pub(super) struct Home<'a> {
    pub(super) broker: &'a Broker,
    pub(super) name: &'a DeviceName,
    /// Folder that serves as the device's disk.
    pub(super) root: &'a Path,
    /// Folder that the program and the client modules are written to.
    pub(super) programs: &'a Path,
}

/// Demo device: real MicroPython if there is one, otherwise the built-in receiver.
pub(super) enum Device {
    MicroPython(Box<MicroPython>),
    Receiver(Receiver),
}

impl Device {
    /// Starts the device. `told` is the MicroPython program that the user asked for. Otherwise `MQTT_OTA_MICROPYTHON`
    /// or the program in `PATH` is used, and failing these the built-in receiver.
    pub(super) async fn start(told: Option<&Path>, home: &Home<'_>, stage: &Stage) -> Result<Self, Problem> {
        let told = told.map(Path::to_owned);
        let told = told.or_else(|| process_environment("MQTT_OTA_MICROPYTHON").map(PathBuf::from));
        if let Some(program) = told {
            return Ok(Self::MicroPython(Box::new(MicroPython::start(&program, home, stage)?)));
        }
        let why = match in_path("micropython") {
            None => "there is no micropython in PATH",
            Some(program) => {
                let mut device = MicroPython::start(&program, home, stage)?;
                // A program that was only found in PATH may be of another version, or built without sockets.
                tokio::select! {
                    _ = device.run(stage) => "that one cannot run the program",
                    () = stage.device_is_ready() => {
                        stage.device_ready();
                        return Ok(Self::MicroPython(Box::new(device)));
                    }
                    () = tokio::time::sleep(super::PATIENCE) => "that one says nothing",
                }
            }
        };
        let Home { broker, name, root, .. } = *home;
        let receiver = Receiver::start(broker.clone(), name.clone(), root, ReceiverConfig::default())
            .await
            .map_err(|error| Problem { exit: Exit::Failed, error: error.into(), hint: None })?;
        stage.says("device", format!("is the receiver that is built in, as {why}"));
        Ok(Self::Receiver(receiver))
    }

    /// Shows what the device does until it ends. It is not expected to end.
    pub(super) async fn run(&mut self, stage: &Stage) -> Problem {
        match self {
            Self::MicroPython(device) => device.run(stage).await,
            Self::Receiver(receiver) => {
                while let Some(event) = receiver.next().await {
                    show(&event, stage);
                    if matches!(event, ReceiverEvent::Reboot) {
                        receiver.rebooted().await;
                    }
                }
                Problem::failed("the device has ended")
            }
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::MicroPython(mut device) => drop(device.child.kill().await),
            Self::Receiver(receiver) => receiver.stop().await,
        }
    }
}

fn show(event: &ReceiverEvent, stage: &Stage) {
    match event {
        ReceiverEvent::Online(_) => {
            stage.says("device", "has announced itself, waits for offers");
            stage.device_ready();
        }
        ReceiverEvent::Receiving(offer) => {
            stage.says("device", format!("fetches {} from {}:{}", offer.path, offer.host, offer.port));
        }
        ReceiverEvent::Installed { path, .. } => stage.says("device", format!("has installed {path}")),
        ReceiverEvent::Unchanged { path } => stage.says("device", format!("has {path} already")),
        ReceiverEvent::Failed { reason, text, .. } => {
            stage.says("device", format!("failed: {reason} {text}"));
        }
        ReceiverEvent::Reboot => stage.says("device", "reboots"),
        _ => {}
    }
}

/// MicroPython process that runs the device's program.
pub(super) struct MicroPython {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    errors: Lines<BufReader<ChildStderr>>,
}

impl MicroPython {
    fn start(program: &Path, home: &Home<'_>, stage: &Stage) -> Result<Self, Problem> {
        let Home { broker, name, root, programs } = home;
        for (name, module) in MODULES {
            super::write(programs.join(name), module)?;
        }
        let script = super::write(programs.join("device.py"), SCRIPT)?;
        let mut child = Command::new(program)
            .arg(script)
            .args([broker.host(), &broker.port().to_string(), name.as_str()])
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Problem::failed(format!("cannot run {}", program.display()))
                    .caused_by(error)
                    .hint("--micropython and MQTT_OTA_MICROPYTHON name a MicroPython program")
            })?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(Problem::failed("the device has no output"));
        };
        stage.says("device", format!("is {} with the companion client, mqtt_ota.py", program.display()));
        Ok(Self { child, output: BufReader::new(output).lines(), errors: BufReader::new(errors).lines() })
    }

    /// Shows the program's output until the program ends.
    async fn run(&mut self, stage: &Stage) -> Problem {
        let (mut talks, mut complains) = (true, true);
        while talks || complains {
            tokio::select! {
                line = self.output.next_line(), if talks => match line {
                    Ok(Some(line)) => {
                        stage.says("device", line.trim_end());
                        if line.starts_with(BOOTED) {
                            stage.device_ready();
                        }
                    }
                    _ => talks = false,
                },
                line = self.errors.next_line(), if complains => match line {
                    Ok(Some(line)) => stage.says("device", line.trim_end()),
                    _ => complains = false,
                },
            }
        }
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        Problem::failed(format!("the device's program has ended: {status}"))
            .hint("it runs on MicroPython 1.25; --micropython names another one")
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let name = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| file.is_file())
}
