//! What the audit log costs an operation: a line with everything in it, until it is with the kernel; a hundred with one
//! write; and reading a log back. Beside them the bare `write` of as many bytes.

#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strongroom::audit::{self, Record};
use strongroom::{Audit, Paths, Shapes};
use strongroom_core::config::{Config, Layer};
use strongroom_core::policy::Operation;
use strongroom_core::{Digest, Name, Reference, Text};

fn open(folder: &Path, names: bool) -> (Audit, Paths) {
    let paths = Paths { state: Some(folder.to_owned()), ..Paths::default() };
    let text = format!("[audit]\nfile = \"audit.jsonl\"\nkeep = 1\nnames = {names}");
    let config = Config::parse(&text, Text::new("bench"), Layer::Explicit).unwrap().audit.unwrap();
    (Audit::open(&config, folder, &paths, Arc::new(|_| {})).unwrap(), paths)
}

fn benches(criterion: &mut Criterion) {
    let (mount, plugin) = (Name::parse("keyvault").unwrap(), Digest::of(b"plugin"));
    let text = "keyvault:https://mykeyvault.vault.azure.net/secrets/db-password";
    let reference = Reference::parse(text, &Shapes::builtin()).unwrap();
    let claimed = [("agent", Text::new("azsdk-python-keyvault-secrets/4.9.0 Python/3.12"))];
    let record = Record {
        caller: "trainers",
        kind: "unix",
        door: "key-vault",
        operation: Operation::Resolve,
        mount: Some(&mount),
        reference: Some(&reference),
        plugin: Some(&plugin),
        outcome: Ok(()),
        rule: Some(2),
        micros: 812,
        trace: Some([7; 16]),
        claimed: &claimed,
    };
    let mut group = criterion.benchmark_group("audit");
    for names in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (log, paths) = open(folder.path(), names);
        for count in [1, 100] {
            let records = vec![record; count];
            group.throughput(Throughput::Elements(count as u64));
            let named = if names { "lines with names" } else { "lines" };
            group.bench_function(BenchmarkId::new(named, count), |bench| bench.iter(|| log.write(&records).unwrap()));
        }
        if names {
            continue;
        }
        drop(log);
        let file = folder.path().join("audit.jsonl");
        let bytes = std::fs::read(&file).unwrap();
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next_back().unwrap();
        for count in [1, 100] {
            let bare = line.repeat(count);
            let mut to = OpenOptions::new().append(true).create(true).open(folder.path().join("bare")).unwrap();
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("bare write", count), |bench| {
                bench.iter(|| to.write_all(black_box(&bare)).unwrap());
            });
            to.set_len(0).unwrap();
        }
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.sample_size(10);
        let key = paths.audit_key().unwrap();
        group.bench_function("verify", |bench| {
            bench.iter(|| audit::verify(&audit::Files::open(vec![file.clone()]).unwrap(), &key, None).unwrap())
        });
        group.sample_size(100);
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
