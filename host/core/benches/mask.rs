//! Masking a log with a hundred secrets: how long the matcher takes to build, and how many bytes a
//! second pass through a stream, beside a plain copy of the same bytes.

#![allow(missing_docs, clippy::indexing_slicing)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use strongroom_core::mask::{Masker, Masks};

const SECRETS: usize = 100;
const LOG_BYTES: usize = 32 << 20;
/// What a pipe holds by default, so what one read gives.
const CHUNK_BYTES: usize = 64 << 10;

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

fn secrets(random: &mut Random, shortest: usize, longest: usize) -> Vec<Vec<u8>> {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=!@#$%&*";
    (0..SECRETS)
        .map(|_| {
            let length = shortest + random.below(longest - shortest + 1);
            (0..length).map(|_| letters[random.below(letters.len())]).collect()
        })
        .collect()
}

fn log(random: &mut Random, secrets: &[Vec<u8>]) -> Vec<u8> {
    let words = [
        "request",
        "handled",
        "GET",
        "/api/v1/items",
        "status=200",
        "loss=0.3312",
        "epoch",
        "INFO",
        "WARN",
        "connection",
        "pool",
        "{\"level\":\"info\",\"msg\":\"step\"}",
        "batch",
        "worker-7",
        "0x7ffe12",
        "latency_ms=13",
    ];
    let mut log = Vec::with_capacity(LOG_BYTES + 1024);
    for line in 0u64.. {
        if log.len() >= LOG_BYTES {
            break;
        }
        let (minute, second, milli) = (line / 60 % 60, line % 60, line % 1000);
        log.extend_from_slice(format!("2026-11-21T22:{minute:02}:{second:02}.{milli:03}Z ").as_bytes());
        for _ in 0..8 {
            log.extend_from_slice(words[random.below(words.len())].as_bytes());
            log.push(b' ');
        }
        if random.below(200) == 0 {
            log.extend_from_slice(&secrets[random.below(secrets.len())]);
        }
        log.push(b'\n');
    }
    log
}

fn masks(secrets: &[Vec<u8>]) -> Masks {
    let mut masks = Masks::new();
    for secret in secrets {
        masks.add("NAME", secret);
    }
    masks
}

fn filter(masker: &Masker, log: &[u8], out: &mut Vec<u8>) -> usize {
    let mut stream = masker.stream();
    let mut total = 0;
    for chunk in log.chunks(CHUNK_BYTES) {
        out.clear();
        stream.push(chunk, out);
        total += black_box(&out).len();
    }
    total
}

fn bench(criterion: &mut Criterion) {
    let mut random = Random(88_172_645_463_325_252);
    let sets = [("8 to 40 bytes", 8, 40), ("20 to 40 bytes", 20, 40), ("4 to 40 bytes", 4, 40), ("4 to 8 bytes", 4, 8)];
    let mut out = Vec::with_capacity(2 * CHUNK_BYTES);
    for (name, shortest, longest) in sets {
        let secrets = secrets(&mut random, shortest, longest);
        let log = log(&mut random, &secrets);
        let masker = masks(&secrets).build();
        let mut group = criterion.benchmark_group(format!("masking, {SECRETS} secrets of {name}"));
        group.sample_size(10);
        group.bench_function("build", |bencher| {
            bencher.iter_batched(|| (), |()| masks(&secrets).build(), BatchSize::PerIteration);
        });
        group.throughput(Throughput::Bytes(log.len() as u64));
        group.bench_function("filter", |bencher| bencher.iter(|| filter(&masker, &log, &mut out)));
        if shortest == 8 {
            group.bench_function("copy", |bencher| bencher.iter(|| filter(&Masker::none(), &log, &mut out)));
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
