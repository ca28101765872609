//! Syncs a folder to a device, all files or none, and prints the outcome:
//! `cargo run -p mqtt-ota --example sync -- mqtt://iot.lan src NIGHTLAMP`

use std::error::Error;
use std::io::{Write, stdout};

use mqtt_ota::{Broker, Config, FileSet, Sender, SyncOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(broker), Some(folder), Some(device)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: sync BROKER FOLDER DEVICE".into());
    };
    let set = FileSet::of_folder(folder).await?;
    let sender = Sender::connect(Broker::parse(&broker)?, Config::default()).await?;
    // The device rolls a set back that does not work. This takes several boots.
    let options = SyncOptions { wait_for_boot: true, ..SyncOptions::default() };
    let sync = sender.sync(&set, &device.parse()?, options).await?;
    sender.close().await;
    let outcome = &sync.report.outcome;
    let said = format!("{device}: {outcome} ({} of {} files sent)", sync.fetched, sync.files);
    if outcome.is_success() { Ok(writeln!(stdout(), "{said}")?) } else { Err(said.into()) }
}
