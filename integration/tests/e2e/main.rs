//! The end-to-end tier: the real command, real brokers, real MicroPython, real files.
//!
//! One binary, so that there is one to link. `integration/test.sh` installs what it needs and runs it; a part of it is
//! `cargo test -p mqtt-ota-integration keeper::`. `MQTT_OTA_THOROUGH=1` runs everything at full size.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are tests"
)]

mod announcements;
mod answers;
mod at_boot;
#[cfg(target_os = "linux")]
mod at_rest;
mod bad_devices;
mod bad_files;
mod broker_bounds;
mod broker_page;
mod broker_versions;
mod brokers;
mod chaos;
mod checks;
mod clients;
mod comes_back;
mod companion;
mod compat;
mod corpus;
mod crashes;
mod deliveries;
mod demo;
mod demo_device;
mod device_answers;
mod device_memory;
mod devices;
mod examples;
mod feeds;
mod fleet;
mod harness;
mod hostile;
mod in_process;
#[cfg(unix)]
mod installs;
#[cfg(unix)]
mod interrupts;
mod keepalive;
mod keeper;
mod keeper_access;
mod keeper_claims;
mod keeper_fleet;
mod keeper_orders;
mod library;
#[cfg(unix)]
mod log;
mod matrix;
mod names;
mod original;
mod output;
#[cfg(unix)]
mod page;
mod pico_w;
mod postponed;
mod power_loss;
mod power_loss_back;
mod power_loss_set;
mod receiver_sets;
mod refusals;
mod rolled_back;
mod safe_mode;
mod sets;
mod strangers;
#[cfg(unix)]
mod stubs;
#[cfg(unix)]
mod systemd;
mod template;
mod tls;
mod too_little_memory;
mod transfers;
mod trials;
mod vectors;
mod versions;
mod waiting;
