//! Figures of the real command, and their ratios to what bounds them, measured in the same run:
//! `cargo build --profile dist && cargo bench --profile dist -p mqtt-ota-integration`, or with the names of parts:
//! `… -- small large sparse sets keeper`.
//!
//! The benchmark compares and does not judge: a slow day fails nothing. Everything runs on this machine, over loopback.
//! The figures are medians, with the quartiles in brackets.
//!
//! A measurement that the host of a virtual machine disturbs is repeated. Other work on the machine disturbs the
//! figures too. A benchmark that was built with `cargo bench --no-run` can be run ahead of other work, by root on
//! Linux, with `chrt -f 10 cargo bench …`.
#![allow(clippy::print_stdout, reason = "a benchmark is there to print")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot run ends with the reason"
)]

mod bare;
mod baseline;
mod content;
mod cpu;
mod keeper;
mod large;
mod limit;
mod machine;
mod nginx;
mod paho;
mod peak;
mod place;
mod run;
mod sample;
mod sets;
mod small;
mod sparse;
mod stage;
mod steal;

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    println!("{}", machine::describe());
    for (part, measure) in [
        ("small", small::measure as fn()),
        ("large", large::measure),
        ("sparse", sparse::measure),
        ("sets", sets::measure),
        ("keeper", keeper::measure),
    ] {
        if is_wanted(part) {
            println!();
            measure();
            if let Some(told) = steal::told() {
                println!("  {told}");
            }
        }
    }
    println!("\n{}", machine::load());
}
