//! `fake-azure`: starts the fake, prints where it is, one `key=value` a line and then `ready`, and ends
//! when its standard input is closed, or on SIGTERM or SIGINT.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "whoever starts it reads where it is")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fake_azure::{Fake, Options};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// An Azure for tests, on loopback.
#[derive(Debug, Parser)]
#[command(name = "fake-azure")]
struct Arguments {
    /// Where files are written; by default a temporary folder that is gone at the end.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Port of all names, with TLS; by default a free one.
    #[arg(long, default_value_t = 0)]
    https_port: u16,
    /// Port of local endpoints and of control; by default a free one.
    #[arg(long, default_value_t = 0)]
    http_port: u16,
    /// Port of the proxy that leads every name here; by default a free one.
    #[arg(long, default_value_t = 0)]
    proxy_port: u16,
    /// HTTP/1.1 only.
    #[arg(long)]
    no_http2: bool,
    /// A seed document on top of the default content.
    #[arg(long)]
    seed: Option<PathBuf>,
    /// Where Azure Arc's challenge files are written; by default in the folder.
    #[arg(long)]
    arc_folder: Option<PathBuf>,
    /// Goes on when standard input is closed.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fake-azure: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let seed = match &arguments.seed {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?),
        None => None,
    };
    let fake = Fake::start(Options {
        folder: arguments.folder,
        https_port: arguments.https_port,
        http_port: arguments.http_port,
        proxy_port: arguments.proxy_port,
        http2: !arguments.no_http2,
        seed,
        arc_folder: arguments.arc_folder,
    })?;
    for (name, value) in fake.facts() {
        println!("{name}={value}");
    }
    println!("ready");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let ended = runtime.block_on(end(arguments.keep)).map_err(|error| error.to_string());
    // A read of standard input may still wait; nothing waits for it.
    runtime.shutdown_background();
    ended
}

/// Returns when it is time to end.
async fn end(keep: bool) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let closed = async {
        let mut input = tokio::io::stdin();
        let mut some = [0; 256];
        while keep || matches!(input.read(&mut some).await, Ok(1..)) {
            if keep {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = closed => {}
    }
    Ok(())
}
