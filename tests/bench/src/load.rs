//! A constant load on a server that is measured, in a process of its own. `tests/bench/serve` drives it.
//!
//! A load that waits for its answers asks a slow server less often, and so is kinder to it than its users are. Here the
//! requests are due at fixed times, and one that has to wait for the answer before it has waited.
//!
//! One thread has all connections, for it shares its processors with the server: with a thread for each of them, and two switches a
//! request, it took as much of the machine as the server, and what was measured was their waiting for each other.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};

use crate::clients::{Target, length};

/// How late the kernel may be to wake it, in nanoseconds. Linux alone has to be told.
#[cfg(target_os = "linux")]
const SLACK: std::num::NonZeroU64 = std::num::NonZeroU64::MIN;

/// Asks `rate` times a second for some seconds, over so many connections, and prints what came of it:
/// `rate=`, `p50=` and `p99=`, the latter in milliseconds.
///
/// # Errors
/// The first answer that is no 200.
pub fn load(folder: &Path, port: &str, rate: &str, seconds: &str, connections: &str) -> Result<()> {
    let target = Target::read(folder, port)?;
    let (rate, connections): (f64, u32) = (rate.parse()?, connections.parse()?);
    let period = Duration::from_secs_f64(f64::from(connections) / rate);
    let streams = (0..connections).map(|_| target.connect()).collect::<Result<Vec<_>>>()?;
    #[cfg(target_os = "linux")]
    rustix::thread::set_current_timer_slack(Some(SLACK))?;
    let begun = Instant::now() + Duration::from_millis(20);
    let until = begun + Duration::from_secs_f64(seconds.parse()?);
    let mut clients = Vec::new();
    for (stream, number) in streams.into_iter().zip(0..) {
        stream.sock.set_nonblocking(true)?;
        let due = begun + period * number / connections;
        clients.push(Client { stream, due, waited: false, asked: None, answer: Vec::new() });
    }
    let mut all = converse(&mut clients, &target.request, period, until)?;
    let took = begun.elapsed().as_secs_f64();
    all.sort_unstable();
    let at = |part: f64| all.get((all.len() as f64 * part) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!("rate={:.0}\np50={:.4}\np99={:.4}", all.len() as f64 / took, at(0.5), at(0.99));
    Ok(())
}

/// One connection, and its next request or the one that waits for its answer.
struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    due: Instant,
    /// Whether it was due before the answer to the last one came.
    waited: bool,
    /// Since when it counts, while an answer is awaited.
    asked: Option<Instant>,
    answer: Vec<u8>,
}

impl Client {
    fn ask(&mut self, request: &[u8]) -> Result<()> {
        // What the clock of this process is late by is not the server's.
        self.asked = Some(if self.waited { self.due } else { Instant::now() });
        self.stream.conn.writer().write_all(request)?;
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut self.stream.sock)?;
        }
        Ok(())
    }

    /// Reads what is there. Gives what the request took, once its answer is whole.
    fn read(&mut self, period: Duration) -> Result<Option<Duration>> {
        match self.stream.conn.read_tls(&mut self.stream.sock) {
            Ok(0) => bail!("the connection ended"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        self.stream.conn.process_new_packets()?;
        match self.stream.conn.reader().read_to_end(&mut self.answer) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
        let whole = length(&self.answer)?.is_some_and(|length| self.answer.len() >= length);
        let Some(asked) = self.asked.take_if(|_| whole) else { return Ok(None) };
        let now = Instant::now();
        self.answer.clear();
        self.due += period;
        self.waited = self.due <= now;
        Ok(Some(now - asked))
    }
}

/// What each request took that was due until then.
fn converse(clients: &mut [Client], request: &[u8], period: Duration, until: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    loop {
        let now = Instant::now();
        let mut next = None;
        for client in clients.iter_mut().filter(|client| client.asked.is_none() && client.due < until) {
            if client.due <= now {
                client.ask(request)?;
            } else {
                next = Some(next.map_or(client.due, |next: Instant| next.min(client.due)));
            }
        }
        let waiting: Vec<_> = clients.iter_mut().filter(|client| client.asked.is_some()).collect();
        if waiting.is_empty() && next.is_none() {
            return Ok(took);
        }
        let mut ready: Vec<_> = waiting.iter().map(|client| PollFd::new(&client.stream.sock, PollFlags::IN)).collect();
        let pause = next.map(|next| Timespec::try_from(next.saturating_duration_since(Instant::now()))).transpose()?;
        poll(&mut ready, pause.as_ref())?;
        let ready: Vec<_> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (client, _) in waiting.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            took.extend(client.read(period)?);
        }
    }
}
