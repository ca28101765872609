//! Runs as a device that keeps its files in a folder:
//! `cargo run -p mqtt-ota --example device -- mqtt://iot.lan NIGHTLAMP /srv/nightlamp`

use std::error::Error;

use mqtt_ota::{Broker, Receiver, ReceiverConfig, ReceiverEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(broker), Some(name), Some(root)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: device BROKER NAME FOLDER".into());
    };
    let config = ReceiverConfig::default();
    let mut device = Receiver::start(Broker::parse(&broker)?, name.parse()?, root, config).await?;
    while let Some(event) = device.next().await {
        if let ReceiverEvent::Reboot = event {
            // A real device would restart its service here.
            device.rebooted().await;
        }
    }
    Ok(())
}
