//! What an exchange leaves in this process's memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

use zeroize::{Zeroize, Zeroizing};

use super::*;

/// Kept turned around, so that looking for it finds no copy of what is looked for.
struct Marker([u8; 24]);

const TURN: u8 = 0x5a;

impl Marker {
    fn new() -> Self {
        let mut bytes = [0; 24];
        getrandom::fill(&mut bytes).unwrap();
        Self(bytes)
    }

    /// `count` of it, with something between.
    fn repeated(&self, count: usize) -> Zeroizing<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(count * 64));
        for _ in 0..count {
            plain.extend(self.0.iter().map(|byte| byte ^ TURN));
            plain.extend([b'.'; 40]);
        }
        plain
    }

    /// How many copies there are in the memory that this process can write to.
    fn copies(&self) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut window = vec![0_u8; 1 << 20];
        let own = window.as_ptr() as u64..window.as_ptr() as u64 + window.len() as u64;
        let mut found = 0;
        for line in BufReader::new(File::open("/proc/self/maps").unwrap()).lines() {
            let line = line.unwrap();
            let (range, rest) = line.split_once(' ').unwrap();
            if !rest.starts_with("rw") || rest.ends_with("[vvar]") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            while at < end {
                let length = window.len().min((end - at) as usize);
                let Ok(read) = memory.read_at(&mut window[..length], at) else { break };
                let seen = &window[..read];
                for (index, _) in seen.iter().enumerate().filter(|(_, byte)| **byte == self.0[0] ^ TURN) {
                    let place = at + index as u64;
                    let here = seen.get(index..index + self.0.len());
                    let is_it = here.is_some_and(|here| here.iter().zip(&self.0).all(|(a, b)| *a == b ^ TURN));
                    found += usize::from(is_it && !own.contains(&place));
                }
                // Overlapping, so that none lies across a border unseen.
                at += if at + read as u64 >= end { read as u64 } else { read as u64 - self.0.len() as u64 };
            }
        }
        window.zeroize();
        found
    }
}

#[tokio::test]
async fn an_answer_is_gone_when_it_is_dropped() {
    for (framing, count, keeps) in [
        ("content-length", 1, true),
        ("content-length", 1000, true),
        ("chunked", 1, true),
        ("chunked", 1000, true),
        ("close", 1, false),
        ("close", 1000, false),
    ] {
        let marker = Arc::new(Marker::new());
        let sent = marker.clone();
        let server = Server::start(move |_, mut stream| {
            let marker = sent.clone();
            async move {
                read_request(&mut stream).await;
                let body = marker.repeated(count);
                let head = match framing {
                    "content-length" => format!("content-length: {}\r\n\r\n", body.len()),
                    "chunked" => "transfer-encoding: chunked\r\n\r\n".to_owned(),
                    _ => "connection: close\r\n\r\n".to_owned(),
                };
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
                if framing == "chunked" {
                    for piece in body.chunks(5000) {
                        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                        stream.write_all(piece).await.unwrap();
                        stream.write_all(b"\r\n").await.unwrap();
                    }
                    stream.write_all(b"0\r\n\r\n").await.unwrap();
                } else {
                    stream.write_all(&body).await.unwrap();
                }
                drop(body);
                if framing == "close" {
                    stream.shutdown().await.unwrap();
                }
                until_closed(&mut stream).await;
            }
        })
        .await;
        let bench = Bench::new();
        let answer = bench.get(&server.to()).await.unwrap();
        assert_eq!(answer.body.len(), count * 64);
        assert!(marker.copies() >= count, "{framing}, {count}: the search finds what is there");
        drop(answer);
        assert_eq!(bench.client.0.pool.len(), usize::from(keeps));
        assert_eq!(marker.copies(), 0, "{framing}, {count}, with the connection kept");
        drop(bench);
        assert_eq!(marker.copies(), 0, "{framing}, {count}");
    }
}

#[tokio::test]
async fn half_an_answer_is_gone_too() {
    let marker = Arc::new(Marker::new());
    let sent = marker.clone();
    let server = Server::start(move |_, mut stream| {
        let marker = sent.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n").await.unwrap();
            stream.write_all(&marker.repeated(500)).await.unwrap();
            until_closed(&mut stream).await;
        }
    })
    .await;
    let bench = Bench::new();
    let soon = Limits { between_bytes: Some(Duration::from_millis(100)), ..limits() };
    assert!(bench.send(&server.to(), outgoing(Method::GET, ""), &soon).await.is_err());
    assert_eq!(marker.copies(), 0);
}
