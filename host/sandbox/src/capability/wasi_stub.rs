//! `wasi-stub`: what language runtimes import and plugins do not need.
//!
//! An environment without variables, a standard input that has ended, outputs that are closed, no
//! terminals, no folders, and an exit that ends the call. Clocks and randomness are those of [`clock`]
//! and [`random`]. It must never give a guest anything of this machine: `wasi:sockets` is not here,
//! and a descriptor of `wasi:filesystem` cannot come to be, so its methods only trap.
//!
//! [`clock`]: super::clock
//! [`random`]: super::random

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime_wasi_io::bindings::wasi::io::error::Error;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, StreamError, StreamResult,
};

use crate::call::{State, Stop};
use crate::engine::Runtime;

/// What can be imported with it, without the version, beside clocks, polls, streams and randomness.
pub(crate) const INTERFACES: [&str; 14] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    FILESYSTEM,
    "wasi:filesystem/preopens",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

const FILESYSTEM: &str = "wasi:filesystem/types";
const VERSION: &str = "0.2.12";

/// No terminal, no file: types of which no value is ever made.
enum Terminal {}
enum NoFile {}

/// A stream that has ended, in whichever direction.
struct Closed;

#[async_trait::async_trait]
impl Pollable for Closed {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Closed {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

#[async_trait::async_trait]
impl OutputStream for Closed {
    fn write(&mut self, _bytes: Bytes) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Err(StreamError::Closed)
    }
}

/// Links all of it, for what `component` imports of the file system.
pub(crate) fn link(linker: &mut Linker<State>, runtime: &Runtime, component: &Component) -> wasmtime::Result<()> {
    let mut environment = interface(linker, "wasi:cli/environment")?;
    environment.func_wrap("get-environment", |_, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_, (): ()| Ok((None::<String>,)))?;
    // An exit without a failure is no answer, either.
    let exit = |_: wasmtime::StoreContextMut<'_, State>, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
        Err(Stop::Exit.into())
    };
    interface(linker, "wasi:cli/exit")?.func_wrap("exit", exit)?;
    interface(linker, "wasi:cli/stdin")?.func_wrap("get-stdin", |mut store, (): ()| {
        let stream: DynInputStream = Box::new(Closed);
        Ok((store.data_mut().table.push(stream)?,))
    })?;
    for (name, function) in [("wasi:cli/stdout", "get-stdout"), ("wasi:cli/stderr", "get-stderr")] {
        interface(linker, name)?.func_wrap(function, |mut store, (): ()| {
            let stream: DynOutputStream = Box::new(Closed);
            Ok((store.data_mut().table.push(stream)?,))
        })?;
    }
    for name in ["terminal-input", "terminal-output"] {
        resource::<Terminal>(&mut interface(linker, &format!("wasi:cli/{name}"))?, name)?;
    }
    for name in ["terminal-stdin", "terminal-stdout", "terminal-stderr"] {
        interface(linker, &format!("wasi:cli/{name}"))?
            .func_wrap(&format!("get-{name}"), |_, (): ()| Ok((None::<Resource<Terminal>>,)))?;
    }
    let mut preopens = interface(linker, "wasi:filesystem/preopens")?;
    preopens.func_wrap("get-directories", |_, (): ()| Ok((Vec::<(Resource<NoFile>, String)>::new(),)))?;
    let mut insecure = interface(linker, "wasi:random/insecure")?;
    insecure.func_wrap("get-insecure-random-bytes", |mut store, (len,): (u64,)| {
        Ok((store.data_mut().random_bytes(len)?,))
    })?;
    insecure.func_wrap("get-insecure-random-u64", |mut store, (): ()| Ok((store.data_mut().random_u64()?,)))?;
    interface(linker, "wasi:random/insecure-seed")?.func_wrap("insecure-seed", |mut store, (): ()| {
        Ok(((store.data_mut().random_u64()?, store.data_mut().random_u64()?),))
    })?;
    files(linker, runtime, component)
}

/// The functions of `wasi:filesystem/types`, under the names that the component imports: all of them
/// need a descriptor, which nobody can have, but the one that asks what a stream's error was.
fn files(linker: &mut Linker<State>, runtime: &Runtime, component: &Component) -> wasmtime::Result<()> {
    let engine = &runtime.engine;
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(types) = import.ty else { continue };
        if name.split('@').next() != Some(FILESYSTEM) {
            continue;
        }
        let mut instance = linker.instance(name)?;
        for (name, export) in types.exports(engine) {
            match export.ty {
                // The last three are those of wasi:io, which this interface speaks of, too.
                ComponentItem::Resource(_) => match name {
                    "descriptor" | "directory-entry-stream" => resource::<NoFile>(&mut instance, name)?,
                    "error" => resource::<Error>(&mut instance, name)?,
                    "input-stream" => resource::<DynInputStream>(&mut instance, name)?,
                    "output-stream" => resource::<DynOutputStream>(&mut instance, name)?,
                    _ => {}
                },
                ComponentItem::ComponentFunc(_) if name == "filesystem-error-code" => {
                    instance.func_new(name, |_, _, _, results| {
                        if let Some(result) = results.first_mut() {
                            *result = Val::Option(None);
                        }
                        Ok(())
                    })?;
                }
                ComponentItem::ComponentFunc(_) => {
                    instance.func_new(name, |_, _, _, _| Err(wasmtime::Error::msg("there are no files")))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn interface<'a>(linker: &'a mut Linker<State>, name: &str) -> wasmtime::Result<LinkerInstance<'a, State>> {
    linker.instance(&format!("{name}@{VERSION}"))
}

fn resource<T: 'static>(instance: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    instance.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}
