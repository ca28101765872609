//! Push files to microcontrollers.
