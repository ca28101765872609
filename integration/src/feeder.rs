use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::raw_device::sha1_hex;
use crate::runtime::GUARD;

/// Listening side of a sender, for tests of devices. The test gets every connection.
#[derive(Debug)]
pub struct Feeder {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
}

impl Feeder {
    /// Listens on a free port of the loopback address.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (accepted, connections) = channel();
        // The thread blocks in `accept` for the rest of the test, and ends with the process.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepted.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, connections }
    }

    /// Returns a plain offer of `bytes` as `file` from this address, with four fields.
    pub fn offer(&self, file: &str, bytes: &[u8]) -> String {
        format!("{}|{}|{file}|{}", self.address.ip(), self.address.port(), sha1_hex(bytes))
    }

    /// Waits for a device to connect.
    pub fn accept(&self) -> TcpStream {
        self.connections.recv_timeout(GUARD).expect("a device connects")
    }

    /// Waits for a device, sends `bytes`, and closes as a sender does.
    pub fn serve(&self, bytes: &[u8]) {
        let mut stream = self.accept();
        stream.write_all(bytes).expect("the device takes the bytes");
        stream.shutdown(Shutdown::Write).expect("the device is there");
    }

    /// Returns true if a further device has connected that no test has accepted.
    pub fn has_more(&self) -> bool {
        self.connections.try_recv().is_ok()
    }
}
