//! Times what Strongroom does beside the least that could be done without it: bare wasmtime with an
//! equal call, a bare hyper client with the same request and the same parsing.
//!
//! Each pair is measured in one run, turn by turn, so that a slow moment of the machine meets both;
//! what is told is the median of each, and their ratio or difference. `cargo xtask bench` runs this
//! and the rest; `docs/performance.md` says what came out.
//!
//! ```text
//! strongroom-bench [calls] [batch] [throughput] [http]     all of them, without arguments
//! strongroom-bench hot COUNT WIDTH                         COUNT requests of WIDTH references each, for callgrind
//! strongroom-bench hot-http COUNT                          COUNT secrets from the local server, in the clear
//! ```

#![allow(clippy::print_stdout, reason = "a program that prints figures")]

mod bare;
mod calls;
mod http;
mod measure;
mod server;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    if let Some(status) = strongroom::compile_child(std::env::args_os()) {
        std::process::exit(status.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
    let known = ["calls", "batch", "throughput", "http"];
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
    Ok(())
}
