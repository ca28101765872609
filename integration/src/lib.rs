//! Support for the tests in `tests/`: the real broker, the real command, and devices that behave well or
//! badly on purpose.
//!
//! | noun | is |
//! |---|---|
//! | [`Scene`] | a broker, a folder with files, and the command pointed at both |
//! | [`Home`] | a scene whose folder becomes a device's files |
//! | [`House`], [`Keeper`] | folders that devices follow, and `mqtt-ota keep` |
//! | [`Mosquitto`] | the real broker, on a free port, with a password, TLS or more settings |
//! | [`EmbeddedBroker`] | `mqtt-ota broker` |
//! | [`Gate`] | a relay to a broker that speaks MQTT 3.1.1 only, or that a test can cut |
//! | [`PlayedBroker`] | a broker that a test plays, packet by packet |
//! | [`Chaos`] | a link between a device and a sender that breaks at random offsets |
//! | [`MqttOta`] | the real `mqtt-ota` binary with an environment of its own |
//! | [`Application`] | a program that uses the library |
//! | [`Process`], [`Finished`] | a running child, its output as events, and its end |
//! | [`Client`] | an MQTT client for whatever else a test wants to publish or receive |
//! | [`Distance`] | a link between a device and a sender with a delay |
//! | [`FileServer`] | a folder on a web server |
//! | [`Feeder`] | a sender's listening side, for tests of devices |
//! | [`RawDevice`], [`RawOffer`], [`Link`] | a device that a test drives step by step, into any misbehaviour |
//! | [`OriginalDevice`] | the firmware of 2018: four fields, no status |
//! | [`OriginalSender`] | the sender of 2018: QoS 0, three seconds, no answer |
//! | [`Receiver`] | `mqtt-ota receive` |
//! | [`DemoDevice`] | the MicroPython script that `mqtt-ota demo` runs |
//! | [`Fleet`], [`FleetDevice`] | up to ten thousand devices, each with its own behaviour |
//! | [`SetDevice`] | the companion client as a device that takes sets |
//! | [`Lamp`] | a [`Board`] with the template or an application, a listener, and a sender's folder |
//! | [`Board`] | MicroPython with a file system of its own, an application, and the companion client |
//! | [`PicoW`] | a Pico W's real firmware on an emulated board |
//!
//! Everything blocks, so a test reads from top to bottom. Nothing sleeps: tests wait for events, and
//! [`GUARD`] only ends what has gone wrong. Whatever a test started ends with the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test support: a surprise ends the test, with its message"
)]

mod application;
mod authority;
mod board;
mod chaos;
mod client;
mod command;
mod companion;
mod demo_device;
mod distance;
mod embedded;
mod endpoint;
mod feeder;
mod file_server;
mod fleet;
mod gate;
mod home;
mod house;
mod lamp;
mod link;
mod mosquitto;
mod offer;
mod open_files;
mod original;
mod original_sender;
mod pico_w;
mod played;
mod port;
mod process;
mod raw_device;
mod receiver;
mod runtime;
mod scene;
mod set_device;
mod tier;
mod transcript;

pub use application::{Application, Sending};
pub use authority::{Authority, Flaw};
pub use board::{Board, FileSystem};
pub use chaos::Chaos;
pub use client::{Client, Message};
pub use command::{MqttOta, binary};
pub use companion::{companion, companion_modules, copy_template, install_companion};
pub use demo_device::{DemoDevice, Interpreter};
pub use distance::Distance;
pub use embedded::EmbeddedBroker;
pub use endpoint::Endpoint;
pub use feeder::Feeder;
pub use file_server::FileServer;
pub use fleet::{Behaviour, Connections, Ending, Fleet, FleetDevice, FleetSettings, Rhythm};
pub use gate::{Gate, Passes};
pub use home::{Home, files, noise};
pub use house::{House, Keeper};
pub use lamp::Lamp;
pub use link::Link;
pub use mosquitto::{Mosquitto, Settings};
pub use offer::RawOffer;
pub use open_files::raise_open_files;
pub use original::{OriginalDevice, Step};
pub use original_sender::OriginalSender;
pub use pico_w::PicoW;
pub use played::{PlayedBroker, PlayedClient, connack};
pub use port::{SilentPort, TakenPort, free_port};
pub use process::{Finished, Process};
pub use raw_device::{RawDevice, sha1_hex};
pub use receiver::Receiver;
pub use runtime::GUARD;
pub use scene::Scene;
pub use set_device::SetDevice;
pub use tier::{brought, sized, thorough};
pub use transcript::Transcript;
