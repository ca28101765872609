//! The broker, with real clients on loopback.

#[cfg(test)]
mod announcements;
mod clients;
#[cfg(test)]
mod crowds;
#[cfg(test)]
mod inside;
mod login;
#[cfg(test)]
mod peer;
mod start;
#[cfg(test)]
mod traps;
