//! The command line.

mod help;
mod options;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anstream::ColorChoice;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mqtt_ota::Trial;

pub(crate) use options::{
    Absence, BootTimeout, Checking, Connection, Groups, Keeping, LeastRate, Parallel, Reboot, Retrying,
    Serving, Waiting,
};
#[cfg(feature = "broker")]
pub(crate) use options::{Announcements, Login};

use crate::printer::Verbosity;
use crate::settings::duration;

/// Push files to MicroPython boards: a short offer over MQTT, the bytes over one TCP stream, and an answer
/// from the device that says whether they were installed.
#[derive(Debug, Parser)]
#[command(
    name = "mqtt-ota",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Try `mqtt-ota demo` first: it needs no broker and no board. More: mqtt-ota --help",
    after_long_help = help::MAIN
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) general: General,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command understands.
#[derive(Debug, Args)]
pub(crate) struct General {
    /// Read the settings from FILE [env: MQTT_OTA_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "General")]
    pub(crate) config: Option<PathBuf>,

    /// Say more: -v each step and the advertised address, -vv the library, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "General")]
    verbose: u8,

    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "General")]
    quiet: bool,

    /// When to use colour; `auto` heeds NO_COLOR and TERM=dumb
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, help_heading = "General")]
    color: Color,
}

impl General {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Steps,
            (false, 2) => Verbosity::Debug,
            (false, _) => Verbosity::Trace,
        }
    }

    pub(crate) fn color(&self) -> ColorChoice {
        match self.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send files to devices and wait until they say what became of them
    #[command(after_long_help = help::SEND)]
    Send(Send),
    /// Make a folder's files those of devices: all of them or none, and back if they do not work
    #[command(after_long_help = help::SYNC)]
    Sync(Sync),
    /// Take back the set that devices got last
    #[command(after_long_help = help::ROLLBACK)]
    Rollback(Rollback),
    /// List the devices that have announced themselves to the broker
    #[command(after_long_help = help::DEVICES)]
    Devices(Devices),
    /// Show what devices print and log, as it comes, and their last crash
    #[command(after_long_help = help::LOG)]
    Log(Log),
    /// Be a device: take what is offered and install it below a folder
    #[command(after_long_help = help::RECEIVE)]
    Receive(Receive),
    /// Keep devices in step with a folder: what is in it is what they get, now or when they wake
    #[command(after_long_help = help::KEEP)]
    Keep(Keep),
    /// Show which devices are in step with a folder, and what is the matter with the others
    #[command(after_long_help = help::STATUS)]
    Status(Status),
    /// Run a small MQTT broker, for a home network that has none
    #[cfg(feature = "broker")]
    #[command(after_long_help = help::BROKER)]
    Broker(Broker),
    /// Show a delivery from beginning to end on this machine: broker, sender and device in one process
    #[cfg(feature = "broker")]
    #[command(after_long_help = help::DEMO)]
    Demo(Demo),
    /// Show every setting and where it comes from
    #[command(after_long_help = help::CONFIG)]
    Config(Config),
    /// Print a completion script for a shell
    #[command(after_long_help = help::COMPLETIONS)]
    Completions(Completions),
    /// Print the manual page, or write all of them to a folder
    #[command(after_long_help = help::MAN)]
    Man(Man),
}

impl Command {
    /// Returns true if the command reads the settings file.
    fn has_settings(&self) -> bool {
        match self {
            #[cfg(feature = "broker")]
            Self::Demo(_) => false,
            Self::Completions(_) | Self::Man(_) => false,
            _ => true,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The files, sent in this order
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// The devices: names or @groups, separated by commas; may be repeated. A device with a comma in its
    /// name is reached through a group in the settings file
    #[arg(short, long, required = true, value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) to: Vec<String>,

    /// The name on the device; a folder there if it ends in `/`, as it must with several files
    #[arg(long = "as", value_name = "PATH")]
    pub(crate) path: Option<String>,

    #[command(flatten)]
    pub(crate) reboot: Reboot,

    /// Take it for a failure if a device cannot confirm that it installed the file
    #[arg(long)]
    pub(crate) require_confirmation: bool,

    /// Print events and results as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) groups: Groups,
    #[command(flatten)]
    pub(crate) checking: Checking,
    #[command(flatten)]
    pub(crate) retrying: Retrying,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// The folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    /// The devices: names or @groups, separated by commas; may be repeated
    #[arg(short, long, required = true, value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) to: Vec<String>,

    /// Delete from the device what the last sync put there and the folder has no longer
    #[arg(long)]
    pub(crate) delete: bool,

    /// Delete from the device every file that the folder does not have, but its boot.py and the client
    #[arg(long, conflicts_with = "delete")]
    pub(crate) delete_all: bool,

    /// Only ask the device what would be sent, kept and deleted
    #[arg(long, conflicts_with_all = ["no_reboot", "wait_boot", "trial"])]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) reboot: Reboot,

    /// In how many boots the application has to be confirmed, before the device takes the files back [default: 3]
    #[arg(long, value_name = "BOOTS", value_parser = clap::value_parser!(u16).range(1..=i64::from(Trial::MAX)))]
    pub(crate) trial: Option<u16>,

    /// Print events and results as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) groups: Groups,
    #[command(flatten)]
    pub(crate) checking: Checking,
    #[command(flatten)]
    pub(crate) retrying: Retrying,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The devices: names or @groups, separated by commas; may be repeated
    #[arg(short, long, required = true, value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) to: Vec<String>,

    /// Print events and results as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) groups: Groups,
    #[command(flatten)]
    pub(crate) absence: Absence,
    #[command(flatten)]
    pub(crate) boot: BootTimeout,
}

#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// Only these devices: names or @groups. Without any, all that have announced themselves
    #[arg(value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) names: Vec<String>,

    /// Do not ask the devices whether they are there
    #[arg(long)]
    pub(crate) no_ask: bool,

    /// How long a device may take to answer, such as 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = duration, conflicts_with = "no_ask")]
    pub(crate) timeout: Duration,

    /// Clear what the broker keeps of these devices, unless they answer
    #[arg(long, requires = "names", conflicts_with = "no_ask")]
    pub(crate) forget: bool,

    /// Print the devices as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) groups: Groups,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The devices: names or @groups, also separated by commas
    #[arg(required = true, value_name = "DEVICE", value_delimiter = ',')]
    pub(crate) names: Vec<String>,

    /// Only show the last crash that the broker has kept of each device, and end
    #[arg(short, long)]
    pub(crate) no_follow: bool,

    /// Print what comes as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) groups: Groups,
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// The name to be a device under
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: String,

    /// The folder that holds what is installed
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,

    /// Run this shell command, in DIR, where a board would reboot
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,

    /// Print what happens as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) least_rate: LeastRate,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// The folder that has one folder for each device in it
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The folder that has one folder for each device in it
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,

    /// The name of the folder's keeper, where `mqtt-ota keep` was given one [default: the folder's name]
    #[arg(long, value_name = "NAME", value_parser = options::topic_level)]
    pub(crate) name: Option<String>,

    /// Print the devices as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
}

#[cfg(feature = "broker")]
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// The address and port to listen on
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:1883")]
    pub(crate) listen: String,

    /// Keep devices in step with the folders in DIR as well, as `mqtt-ota keep` does, in this process
    #[arg(long = "keep", value_name = "DIR", id = options::FOLDER)]
    pub(crate) keep: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) keeping: Keeping,
    #[command(flatten)]
    pub(crate) kept: Announcements,
    #[command(flatten)]
    pub(crate) login: Login,
}

#[cfg(feature = "broker")]
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// A file of your own to send; without it, a small main.py
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The MicroPython that plays the device [env: MQTT_OTA_MICROPYTHON]
    ///
    /// Without it, `micropython` is looked for in PATH; where there is none, the receiver that is built in
    /// plays the device.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) micropython: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Print the settings as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) parallel: Parallel,
    #[command(flatten)]
    pub(crate) groups: Groups,
    #[command(flatten)]
    pub(crate) checking: Checking,
    #[command(flatten)]
    pub(crate) retrying: Retrying,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) boot: BootTimeout,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Print the page of this command
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Option<String>,

    /// Write the pages of all commands to this folder, which must exist
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

impl Cli {
    /// Parses the command line.
    ///
    /// # Errors
    /// Fails on an invalid command line, and on a request for `--help` or `--version`. Either error carries its text
    /// and exit status.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let mut command = Self::command().color(color_of_help(&arguments));
        let matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if cli.general.config.is_some() && !cli.command.has_settings() {
            let message = "this command has no settings: --config has no effect";
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }

    /// Returns true if the command runs for days as a service, so that its log lines need a time.
    pub(crate) fn is_service(&self) -> bool {
        match &self.command {
            Command::Keep(_) => true,
            #[cfg(feature = "broker")]
            Command::Broker(_) => true,
            _ => false,
        }
    }

    /// Returns true if standard output carries JSON.
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            Command::Send(args) => args.json,
            Command::Sync(args) => args.json,
            Command::Rollback(args) => args.json,
            Command::Devices(args) => args.json,
            Command::Log(args) => args.json,
            Command::Status(args) => args.json,
            Command::Receive(args) => args.json,
            Command::Config(args) => args.json,
            _ => false,
        }
    }
}

/// Returns the colour choice for help and usage errors. They are written before clap has parsed `--color`, so this
/// function searches the arguments for it.
fn color_of_help(arguments: &[OsString]) -> clap::ColorChoice {
    let after = arguments.iter().skip_while(|argument| *argument != "--color").nth(1);
    let joined = arguments.iter().find_map(|argument| argument.to_str()?.strip_prefix("--color="));
    match joined.or_else(|| after?.to_str()) {
        Some("always") => clap::ColorChoice::Always,
        Some("never") => clap::ColorChoice::Never,
        _ => clap::ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests;
