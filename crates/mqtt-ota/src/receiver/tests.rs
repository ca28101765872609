//! Tests across the receiver's modules: whole sets, on a disk that fails and from a sender that breaks off.

mod faulty;
mod hostile;
mod memory;
mod power_loss;
mod sets;
mod socket;
mod tree;
