use std::hint::black_box;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Number of bytes that are hashed or moved at once.
const CHUNK: usize = 128 * 1024;

/// Measures hashing `bytes` bytes in memory once, with the function that an announcement calls `algorithm`.
pub(crate) fn hash(algorithm: &str, bytes: usize) -> Duration {
    match algorithm {
        "sha1" => hash_with(bytes, Sha1::new(), |state, chunk| state.update(chunk)),
        "sha256" => hash_with(bytes, Sha256::new(), |state, chunk| state.update(chunk)),
        "blake3" => hash_with(bytes, blake3::Hasher::new(), |state, chunk| {
            state.update(chunk);
        }),
        other => panic!("{other} is none of the protocol's hash functions"),
    }
}

fn hash_with<S>(bytes: usize, mut state: S, update: impl Fn(&mut S, &[u8])) -> Duration {
    let chunk = vec![7; CHUNK];
    let started = Instant::now();
    for _ in 0..bytes / CHUNK {
        update(&mut state, black_box(&chunk));
    }
    black_box(state);
    started.elapsed()
}

/// Measures moving `bytes` bytes over loopback once, from one task to another.
pub(crate) fn move_over_loopback(bytes: usize) -> Duration {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let started = Instant::now();
        let writer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let chunk = vec![7; CHUNK];
            for _ in 0..bytes / CHUNK {
                stream.write_all(&chunk).await.expect("the reader reads");
            }
        });
        let reader = tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let mut chunk = vec![0; CHUNK];
            let mut left = bytes;
            while left > 0 {
                left -= stream.read(&mut chunk).await.expect("the writer writes");
            }
        });
        writer.await.expect("the writer ends");
        reader.await.expect("the reader ends");
        started.elapsed()
    })
}
