//! Times what Strongroom does beside the least that could be done without it: bare wasmtime with an
//! equal call, a bare hyper client with the same request and the same parsing.
//!
//! Each pair is measured in one run, turn by turn, so that a slow moment of the machine meets both;
//! what is told is the median of each, and their ratio or difference. `cargo xtask bench` runs this
//! and the rest; `docs/performance.md` says what came out.
//!
//! ```text
//! strongroom-bench [calls] [batch] [throughput] [http] [vault]     all of them, without arguments
//! strongroom-bench hot COUNT WIDTH                         COUNT requests of WIDTH references each, for callgrind
//! strongroom-bench hot-http COUNT                          COUNT secrets from the local server, in the clear
//! strongroom-bench hot-vault COUNT                         COUNT secrets of a Key Vault, from the fake Azure
//! strongroom-bench certificates FOLDER                     a certificate for localhost, for `tests/bench/serve`
//! strongroom-bench axum FOLDER BODY                        a bare axum server with it, which answers the file BODY
//! strongroom-bench load FOLDER PORT RATE SECONDS CONNECTIONS    so many requests a second, whatever the answers take
//! strongroom-bench connections FOLDER PORT IDLE SLOW            connections that do next to nothing
//! strongroom-bench soak [--minutes N] [--seed N]           mixed load and faults; see `soak`
//! strongroom-bench soak-server [--minutes N] [--seed N]    the same of `strongroom serve`; see `soak::served`
//! ```

#![allow(clippy::print_stdout, reason = "a program that prints figures")]

mod axum_server;
mod azure;
mod bare;
mod calls;
mod clients;
mod http;
mod load;
mod measure;
mod server;
mod soak;
mod vault;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    if let Some(status) = strongroom::compile_child(std::env::args_os()) {
        std::process::exit(status.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["certificates", folder] => return axum_server::certificates(folder.as_ref()),
        ["axum", folder, body] => return axum_server::serve(folder.as_ref(), body.as_ref()),
        ["load", folder, port, rate, seconds, connections] => {
            return load::load(folder.as_ref(), port, rate, seconds, connections);
        }
        ["connections", folder, port, idle, slow] => {
            return clients::connections(folder.as_ref(), port, idle, slow);
        }
        _ => {}
    }
    if let [what, count, width] = arguments.as_slice()
        && what == "hot"
    {
        return runtime.block_on(calls::hot(count.parse()?, width.parse()?));
    }
    if let [what, count] = arguments.as_slice()
        && what == "hot-http"
    {
        return runtime.block_on(http::hot(count.parse()?));
    }
    if let [what, count] = arguments.as_slice()
        && what == "hot-vault"
    {
        return runtime.block_on(vault::hot(count.parse()?));
    }
    if let [what, options @ ..] = arguments.as_slice() {
        match what.as_str() {
            "soak" => {
                let (minutes, seed) = soak_options(options, 10.0)?;
                return runtime.block_on(soak::run(minutes, seed));
            }
            "soak-server" => {
                let (minutes, seed) = soak_options(options, 15.0)?;
                return runtime.block_on(soak::served::run(minutes, seed));
            }
            _ => {}
        }
    }
    let known = ["calls", "batch", "throughput", "http", "vault"];
    if let Some(unknown) = arguments.iter().find(|argument| !known.contains(&argument.as_str())) {
        bail!("`{unknown}` is no figure; there are {}", known.join(", "));
    }
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    measure::title();
    if wanted("calls") {
        runtime.block_on(calls::one())?;
    }
    if wanted("batch") {
        runtime.block_on(calls::batch())?;
    }
    if wanted("throughput") {
        runtime.block_on(calls::throughput())?;
    }
    if wanted("http") {
        runtime.block_on(http::get(false))?;
        runtime.block_on(http::get(true))?;
    }
    if wanted("vault") {
        runtime.block_on(vault::one())?;
        runtime.block_on(vault::many())?;
    }
    Ok(())
}

/// How many minutes a soak runs, and from which seed.
fn soak_options(mut options: &[String], usual: f64) -> Result<(f64, Option<u64>)> {
    let (mut minutes, mut seed) = (usual, None);
    while let [name, value, rest @ ..] = options {
        match name.as_str() {
            "--minutes" => minutes = value.parse()?,
            "--seed" => seed = Some(value.parse()?),
            _ => break,
        }
        options = rest;
    }
    match options {
        [] if minutes > 0.0 => Ok((minutes, seed)),
        _ => bail!("a soak has the options --minutes N and --seed N"),
    }
}
