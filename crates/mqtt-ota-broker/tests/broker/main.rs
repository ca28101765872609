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
#[cfg(test)]
mod peer5;
mod start;
#[cfg(test)]
mod traps;
#[cfg(test)]
mod version5;
