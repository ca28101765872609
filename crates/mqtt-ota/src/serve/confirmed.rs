//! Number of written bytes that the peer of a connection has confirmed.
//!
//! Bytes that a write took may wait in this system for minutes. Linux tells which of them the peer's system has
//! acknowledged. On other systems the buffer is kept small instead (see [`SEND_BUFFER`](super::client::SEND_BUFFER)).

/// Connection that may tell what its peer has confirmed.
pub(super) trait Confirms {
    /// Returns the number of bytes that the peer has acknowledged since the connection began. `None` if the system does
    /// not tell.
    ///
    /// The end of the stream counts as one more byte.
    fn confirmed(&self) -> Option<u64>;
}

impl Confirms for tokio::net::tcp::OwnedWriteHalf {
    fn confirmed(&self) -> Option<u64> {
        let stream: &tokio::net::TcpStream = self.as_ref();
        of_socket(stream)
    }
}

impl Confirms for tokio::net::tcp::OwnedReadHalf {
    fn confirmed(&self) -> Option<u64> {
        let stream: &tokio::net::TcpStream = self.as_ref();
        of_socket(stream)
    }
}

impl Confirms for socket2::Socket {
    fn confirmed(&self) -> Option<u64> {
        of_socket(self)
    }
}

impl<T: Confirms> Confirms for Option<T> {
    fn confirmed(&self) -> Option<u64> {
        self.as_ref().and_then(T::confirmed)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use self::linux::of_socket;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::AsFd;
    use std::sync::LazyLock;

    use nix::libc;
    use nix::sys::socket::getsockopt;
    use nix::{getsockopt_impl, sockopt_impl};

    /// Length of the part of `struct tcp_info` that is read, in bytes, up to and including `tcpi_bytes_acked`.
    const LEN: usize = 128;
    /// Offset of `tcpi_bytes_acked`, in bytes.
    const BYTES_ACKED: usize = 120;
    /// First version of Linux that has `tcpi_bytes_acked`.
    const KERNEL: (u32, u32) = (4, 1);

    sockopt_impl!(
        /// System's record of a TCP connection.
        TcpInfo,
        GetOnly,
        libc::IPPROTO_TCP,
        libc::TCP_INFO,
        [u8; LEN]
    );

    /// True if the kernel returns as much as is read. nix panics if a socket option is shorter.
    static TELLS: LazyLock<bool> = LazyLock::new(|| {
        let kernel = nix::sys::utsname::uname().ok();
        let release = kernel.as_ref().and_then(|kernel| kernel.release().to_str());
        release.and_then(version).is_some_and(|version| version >= KERNEL)
    });

    fn version(release: &str) -> Option<(u32, u32)> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    pub(super) fn of_socket(socket: &impl AsFd) -> Option<u64> {
        let info = TELLS.then(|| getsockopt(socket, TcpInfo))?.ok()?;
        let (_, acked) = info.split_at_checked(BYTES_ACKED)?;
        acked.try_into().ok().map(u64::from_ne_bytes)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_kernel_s_release_is_read() {
            for (release, expected) in [
                ("6.18.44-fc-v782", Some((6, 18))),
                ("3.16.0-4-amd64", Some((3, 16))),
                ("4.1", Some((4, 1))),
                ("4", None),
                ("", None),
                ("next", None),
            ] {
                assert_eq!(version(release), expected, "{release}");
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn of_socket<T>(_: &T) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    impl Confirms for tokio::io::WriteHalf<tokio::io::DuplexStream> {
        fn confirmed(&self) -> Option<u64> {
            None
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn every_byte_that_was_read_is_confirmed_and_so_is_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut device = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut reader, mut writer) = listener.accept().await.unwrap().0.into_split();
        assert_eq!(writer.confirmed(), Some(0));
        writer.write_all(&[7; 5000]).await.unwrap();
        writer.shutdown().await.unwrap();
        let mut read = Vec::new();
        device.read_to_end(&mut read).await.unwrap();
        drop(device);
        assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
        assert_eq!((read.len(), writer.confirmed(), reader.confirmed()), (5000, Some(5001), Some(5001)));
    }
}
