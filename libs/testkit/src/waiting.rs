use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Ports that the system gives to nobody by itself (Linux: from 32768), so that no connection takes one before a program
/// that is told to listen there does.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of 127.0.0.1 that is free and that this process has not been given before.
///
/// # Errors
/// If none of them is free.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Test processes begin at different places.
    let begin = std::process::id().wrapping_mul(257);
    for _ in 0..count {
        let place = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = PORTS.start + u16::try_from(place)?;
        if claim(port)?.is_some() {
            return Ok(port);
        }
    }
    bail!("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end)
}

/// Takes a port without opening it, and so that others may bind it: while another thread starts a program, its child holds the
/// socket too for a moment, which no client may take for an answer and which must not keep the port from its user.
fn claim(port: u16) -> Result<Option<tokio::net::TcpSocket>> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    if socket.bind((std::net::Ipv4Addr::LOCALHOST, port).into()).is_err() {
        return Ok(None);
    }
    // Only now: with it, the port of a program that has yet to listen would seem to be free.
    socket.set_reuseaddr(true)?;
    Ok(Some(socket))
}

/// A client with a timeout that ignores proxies.
///
/// # Errors
/// If no TLS backend can be set up.
pub fn http_client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build()?)
}

/// Polls `check` each 20 ms until it gives a value.
///
/// # Errors
/// After `deadline`, with the last reason that `check` gave.
pub async fn eventually<T, F>(deadline: Duration, what: &str, mut check: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = tokio::time::Instant::now() + deadline;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if tokio::time::Instant::now() >= end => {
                return Err(error).with_context(|| format!("{what} did not happen within {deadline:?}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until `url` answers 200.
///
/// # Errors
/// After `deadline`.
pub async fn wait_for_http(url: &str, deadline: Duration) -> Result<()> {
    let client = http_client()?;
    eventually(deadline, &format!("a 200 from {url}"), || async {
        let status = client.get(url).send().await?.status();
        if status != 200 {
            bail!("{url} answered {status}");
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_claimed_port_answers_nobody_is_claimed_by_nobody_else_and_can_be_listened_on() {
        let port = free_port().unwrap();
        let claimed = claim(port).unwrap().expect("still free");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(claim(port).unwrap().is_none());
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        drop((claimed, listener));
    }
}
