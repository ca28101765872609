use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mqtt_ota::keeper::{Keeper, KeeperOptions};
use mqtt_ota::{Config, Sender};
use mqtt_ota_broker::{Broker, BrokerConfig, BrokerError, Credentials};

use crate::args;
use crate::interrupt::Interrupt;
use crate::line::Line;
use crate::printer::Printer;
use crate::problem::{Exit, Problem};
use crate::service;
use crate::settings::Settings;

/// Name of the file in a kept folder that stores what devices announced.
const ANNOUNCEMENTS: &str = ".announcements";

/// Time limit for stopping the keeper, and again for stopping the broker.
const GOODBYE: Duration = Duration::from_millis(500);

/// Runs the embedded broker until it is told to stop.
pub(super) fn run(args: &args::Broker, config: Option<&Path>, printer: &Printer) -> Result<Exit, Problem> {
    let listen = address(&args.listen)?;
    let settings = super::settings(args.keeping.add_to(args.kept.add_to(args.login.flags())), config)?;
    let login = settings.login(None)?;
    let credentials = match &login {
        None => None,
        Some((user, password)) => Some(Credentials::new(user, password).map_err(|error| {
            Problem::usage(format!("the login of {user:?} cannot be asked for"))
                .caused_by(error)
                .hint("give --user, and --password-file or MQTT_OTA_PASSWORD")
        })?),
    };
    let keeping = match &args.keep {
        Some(folder) => {
            let options = super::keep::options(&args.keeping, &settings)?;
            if let Err(source) = std::fs::read_dir(folder) {
                let problem = Problem::failed(format!("cannot read {}", folder.display())).caused_by(source);
                return Err(problem.hint("name the folder that has one folder for each device in it"));
            }
            super::keep::doubt_canaries(folder, &options, printer);
            Some((folder.clone(), options))
        }
        None => None,
    };
    // A keeper needs to know which devices sleep, also after a restart.
    let in_folder = || args.keep.as_ref().map(|folder| folder.join(ANNOUNCEMENTS));
    let announcements = settings.announcements.value.clone().or_else(in_folder);
    let config = BrokerConfig { listen, credentials, announcements, ..BrokerConfig::default() };
    super::block_on(serve(config, keeping, &settings, printer))
}

/// Parses `ADDR:PORT`, or a port alone, which means that port on all IPv4 addresses.
fn address(text: &str) -> Result<SocketAddr, Problem> {
    let port = text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    port.or_else(|_| text.parse()).map_err(|error: std::net::AddrParseError| {
        Problem::usage(format!("{text:?} is no address to listen on"))
            .caused_by(error)
            .hint("give ADDR:PORT such as 0.0.0.0:1883, or a port alone")
    })
}

async fn serve(
    config: BrokerConfig,
    keeping: Option<(PathBuf, KeeperOptions)>,
    settings: &Settings,
    printer: &Printer,
) -> Result<Exit, Problem> {
    let mut interrupt = Interrupt::service().map_err(Problem::no_signals)?;
    let open = config.credentials.is_none();
    let broker = match interrupt.during(Broker::start(config)).await {
        Ok(started) => started?,
        Err(signal) => return Ok(signal.into()),
    };
    announce(broker.address(), open, printer);
    let mut keeper = match keeping {
        Some((folder, options)) => {
            let keeper = keeper(&broker, &folder, options, settings, printer).await?;
            Some((
                keeper,
                format!("{}, for the devices of the broker on {}", folder.display(), broker.address()),
            ))
        }
        None => None,
    };
    let kept = async {
        match &mut keeper {
            Some((keeper, what)) => super::keep::run_told(keeper, what).await,
            None => {
                service::ready(&format!("a broker on {}", broker.address()));
                std::future::pending().await
            }
        }
    };
    let running = async {
        tokio::select! {
            error = broker.stopped() => error.into(),
            problem = kept => problem,
        }
    };
    match interrupt.during(running).await {
        Ok(problem) => Err(problem),
        Err(signal) => {
            if let Some((keeper, _)) = keeper {
                let _ = tokio::time::timeout(GOODBYE, keeper.stop()).await;
            }
            let _ = tokio::time::timeout(GOODBYE, broker.stop()).await;
            Ok(signal.into())
        }
    }
}

/// Starts a keeper that reaches the broker without a network in between.
async fn keeper(
    broker: &Broker,
    folder: &Path,
    options: KeeperOptions,
    settings: &Settings,
    printer: &Printer,
) -> Result<Keeper, Problem> {
    let connector = broker.connector();
    let inside = mqtt_ota::Broker::in_process(move || std::future::ready(connector.connect()));
    let (listen, advertise) = (settings.listen.value.clone(), settings.advertise.value.clone());
    let sender = Sender::connect(inside, Config { listen, advertise, ..Config::default() }).await?;
    let keeper = Keeper::start(sender, folder, options).await?;
    printer.note(&Line::new().plain(format!("keeping the devices of {}", folder.display())));
    Ok(keeper)
}

/// Prints that the broker is ready, and the addresses at which devices reach it.
fn announce(address: SocketAddr, open: bool, printer: &Printer) {
    printer.note(
        &Line::new().good("ready").plain(format!(" on {address}, for MQTT 5 and 3.1.1; Ctrl-C stops it")),
    );
    let reachable = reachable(address.ip());
    for ip in &reachable {
        let url = format!("mqtt://{}", SocketAddr::new(*ip, address.port()));
        printer.note(&Line::new().plain("  devices reach it at ").strong(url));
    }
    if reachable.is_empty() {
        let url = format!("mqtt://{address}");
        printer.note(&Line::new().plain("  only this machine reaches it, at ").strong(url));
    } else if open {
        printer.warning(
            "whoever reaches it can send files to your devices; --user and --password-file ask for a login",
        );
    }
}

/// Returns the addresses at which other machines reach this one. Empty for a loopback address.
fn reachable(listening: IpAddr) -> Vec<IpAddr> {
    if listening.is_loopback() {
        return Vec::new();
    }
    if !listening.is_unspecified() {
        return vec![listening];
    }
    let of_other_machines = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => listening.is_ipv6() && !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(if_addrs::Interface::ip).filter(of_other_machines).collect()
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        let hint = match &error {
            BrokerError::PortTaken { .. } | BrokerError::NotReady { .. } => {
                "another broker seems to run there: use that one, or choose another port with --listen"
            }
            other => other.hint(),
        };
        Self { exit: Exit::Failed, hint: Some(hint.to_owned()), error: error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_that_port_on_every_address() {
        assert_eq!(address("1884").unwrap(), "0.0.0.0:1884".parse().unwrap());
        assert_eq!(address("[::1]:0").unwrap(), "[::1]:0".parse().unwrap());
        assert!(address("lan:1883").unwrap_err().hint.is_some());
    }

    #[test]
    fn a_broker_on_loopback_is_reached_by_nobody_else() {
        assert!(reachable(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_empty());
        let own = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 10));
        assert_eq!(reachable(own), [own]);
    }
}
