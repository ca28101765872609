//! Sends a file to a device, and prints the outcome:
//! `cargo run -p mqtt-ota --example update -- mqtt://iot.lan main.py NIGHTLAMP`

use std::error::Error;
use std::io::{Write, stdout};

use mqtt_ota::{Broker, Config, Payload, SendOptions, Sender};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(broker), Some(file), Some(device)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: update BROKER FILE DEVICE".into());
    };
    let sender = Sender::connect(Broker::parse(&broker)?, Config::default()).await?;
    let payload = Payload::open(file).await?;
    let report = sender.send(&payload, &device.parse()?, SendOptions::default()).await?;
    sender.close().await;
    let said = format!("{device}: {}", report.outcome);
    if report.outcome.is_success() { Ok(writeln!(stdout(), "{said}")?) } else { Err(said.into()) }
}
