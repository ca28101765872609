use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::runtime::GUARD;

/// TCP connection of a device to the sender, to be used well or badly.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
}

impl Link {
    /// Connects to the sender.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens there.
    pub fn to(host: &str, port: u16) -> Self {
        let stream =
            TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{host}:{port}: {error}"));
        Self::of(stream)
    }

    /// Connects from another address of this machine.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens there, or if `from` is none of this machine's addresses.
    pub fn from(from: IpAddr, host: &str, port: u16) -> Self {
        Self::by(host, port, |socket| socket.bind(&SocketAddr::new(from, 0).into()))
    }

    /// Connects as a board does, whose system takes a few kilobytes, and no more until they are read.
    ///
    /// # Panics
    ///
    /// Panics if nobody listens there.
    pub fn narrow(host: &str, port: u16) -> Self {
        Self::by(host, port, |socket| socket.set_recv_buffer_size(4096))
    }

    fn by(host: &str, port: u16, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> Self {
        let connect = || {
            let to = SocketAddr::new(host.parse().map_err(io::Error::other)?, port);
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            prepare(&socket)?;
            socket.connect(&to.into())?;
            Ok(socket)
        };
        let socket = connect().unwrap_or_else(|error: io::Error| panic!("{host}:{port}: {error}"));
        Self::of(socket.into())
    }

    fn of(stream: TcpStream) -> Self {
        // Without time-outs a device that hangs would hang the test.
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream.set_write_timeout(Some(GUARD)).unwrap();
        Self { stream }
    }

    /// Reads exactly `count` bytes.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream
            .read_exact(&mut bytes)
            .unwrap_or_else(|error| panic!("{count} bytes were to come: {error}"));
        bytes
    }

    /// Reads to the end of the stream, which has to be an orderly one.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap_or_else(|error| panic!("the stream broke: {error}"));
        bytes
    }

    /// Reads `count` bytes, a piece at a time with a pause before each, to test the link's rate.
    pub fn read_slowly(&mut self, count: usize, piece: usize, pause: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            thread::sleep(pause);
            bytes.extend(self.read(piece.min(count - bytes.len())));
        }
        bytes
    }

    /// Sends bytes, which a device never does for a plain offer.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("{} bytes do not go out: {error}", bytes.len()));
    }

    /// Closes the sending side. Reading goes on.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits until the sender has closed the connection, orderly or not. Returns what came before.
    pub fn wait_for_close(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            let closed = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted);
            assert!(closed, "the connection stays open: {error}");
        }
        bytes
    }
}
