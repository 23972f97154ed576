//! Clients that are killed in the middle: of a handshake, of a head, of a body, of an answer. What they asked for is done
//! wholly or not at all.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use strongroom::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::Shared;
use super::ask::{Answer, Client, Way, target};
use super::load::{hostile, key};
use crate::azure::VAULT;
use crate::soak::random::{Random, value_of, version_of};

/// One such client after another.
///
/// # Errors
/// If nobody can connect.
pub async fn work(number: u64, mut random: Random, shared: Arc<Shared>) -> Result<()> {
    let name = format!("soak/vanishing-{number}");
    let mut tried = 0;
    while !shared.is_over() {
        tried += 1;
        if random.once_in(8) {
            handshake(&shared, &mut random).await?;
        } else {
            request(&shared, &mut random, &name, tried).await?;
        }
        if random.once_in(8) {
            let answer = Client::connect(&shared.program, Way::Unix).await?.get(&key(&name)).await?;
            shared.tally(|tally| match &answer {
                Answer::Value(value) if version_of(&name, value).is_some_and(|version| version <= tried) => {
                    tally.done("what a client that vanished may have set is whole");
                }
                Answer::Failed(Kind::NotFound, ..) => {
                    tally.done("what a client that vanished may have set is not there")
                }
                other => tally.wrong(format!("{name}, set by a client that vanished: {other:?}")),
            });
        }
    }
    Ok(())
}

/// Half a hello, or none.
async fn handshake(shared: &Shared, random: &mut Random) -> Result<()> {
    let mut stream = TcpStream::connect(shared.program.address).await?;
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let length = usize::try_from(random.below(hello.len() as u64 + 1)).unwrap_or_default();
    // The server may be quicker.
    let _ = stream.write_all(hello.get(..length).unwrap_or_default()).await;
    tokio::time::sleep(Duration::from_millis(random.below(20))).await;
    shared.tally(|tally| tally.done("a client vanished in its handshake"));
    Ok(())
}

/// A request, or the beginning of one.
async fn request(shared: &Shared, random: &mut Random, name: &str, version: u64) -> Result<()> {
    let (method, reference, body) = match random.below(10) {
        0 => ("PUT", key(name), json!({ "value": value_of(name, version) }).to_string()),
        1..=5 => ("GET", format!("keyvault:https://{VAULT}/secrets/bench-1"), String::new()),
        6..=8 => ("GET", hostile("wait", &json!([{ "wait": 30 }])), String::new()),
        _ => ("GET", hostile("spin", &json!([{ "spin": null }])), String::new()),
    };
    let text = format!(
        "{method} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        target(&reference),
        body.len()
    );
    // All of it every other time.
    let most = if random.once_in(2) { text.len() as u64 } else { random.below(text.len() as u64) };
    let mut stream = UnixStream::connect(&shared.program.socket).await?;
    let _ = stream.write_all(text.as_bytes().get(..usize::try_from(most)?).unwrap_or_default()).await;
    let patience = Duration::from_millis(random.below(40));
    let _ = tokio::time::timeout(patience, stream.read(&mut [0; 16])).await;
    shared.tally(|tally| tally.done("a client vanished in its request or its answer"));
    Ok(())
}
