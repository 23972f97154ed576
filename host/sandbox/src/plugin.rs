//! A component with exactly its grants linked.
//!
//! The import list is the permission: each plugin has a linker of its own that holds the granted
//! interfaces and nothing else, so that what was not granted is missing when the plugin is loaded,
//! not refused when an attacker reaches it.

use std::collections::BTreeSet;

use strongroom_core::{Failure, Kind, Name};
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use crate::aot::Code;
use crate::bindings::exports::strongroom::plugin as exports;
use crate::bindings::{strongroom, wasi};
use crate::call::State;
use crate::engine::Runtime;

/// The interfaces that can be granted, and the words that grant them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interface {
    /// `strongroom:plugin/log`
    Log,
    /// `strongroom:plugin/env`
    Env,
    /// `strongroom:plugin/store`
    Store,
    /// `wasi:clocks`: wall and monotonic, in steps of 1 ms; with the pollables of `wasi:io`.
    Clock,
    /// `wasi:random/random`, capped per call.
    Random,
}

impl Interface {
    /// All that this release can link.
    pub const ALL: [Self; 5] = [Self::Log, Self::Env, Self::Store, Self::Clock, Self::Random];

    /// The word that grants it, in manifests and in config.
    pub const fn grant(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Env => "env",
            Self::Store => "store",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }

    /// The interface of a grant's word.
    pub fn from_grant(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interface| interface.grant() == word)
    }

    /// What an import needs. `Ok(None)`: nothing, for it holds types alone.
    ///
    /// # Errors
    /// No interface of this release has that name.
    pub fn of_import(import: &str) -> Result<Option<Self>, UnknownImport> {
        let (name, _version) = import.split_once('@').unwrap_or((import, ""));
        Ok(Some(match name {
            "strongroom:plugin/types" => return Ok(None),
            "strongroom:plugin/log" => Self::Log,
            "strongroom:plugin/env" => Self::Env,
            "strongroom:plugin/store" => Self::Store,
            "wasi:clocks/wall-clock" | "wasi:clocks/monotonic-clock" | "wasi:io/poll" => Self::Clock,
            "wasi:random/random" => Self::Random,
            _ => return Err(UnknownImport),
        }))
    }
}

/// An import that nothing in this release provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no interface of that name can be granted")]
pub struct UnknownImport;

pub(crate) struct Exports {
    pub(crate) provider: exports::provider::GuestIndices,
    pub(crate) catalog: Option<exports::catalog::GuestIndices>,
    pub(crate) writer: Option<exports::writer::GuestIndices>,
    pub(crate) annotator: Option<exports::annotator::GuestIndices>,
    pub(crate) lifecycle: Option<exports::lifecycle::GuestIndices>,
}

/// A loaded plugin, ready to be called any number of times at once.
pub struct Plugin {
    runtime: Runtime,
    name: Name,
    label: String,
    pre: InstancePre<State>,
    exports: Exports,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Plugin {
    /// Loads `code` and links the granted interfaces. `digest` is shown beside the name in failures.
    ///
    /// # Errors
    /// `policy-denied` if it imports what is not granted, with the line that would grant it;
    /// `unsupported` if it imports what no grant gives, or is no provider; `integrity` if the code
    /// is not for this engine.
    pub fn load(
        runtime: &Runtime,
        name: &Name,
        digest: &str,
        code: &Code,
        granted: &BTreeSet<Interface>,
    ) -> Result<Self, Failure> {
        let label = format!("{name}@{digest}");
        let component = crate::aot::load(runtime, code)?;
        check_imports(name, &label, imports(runtime, &component), granted)?;
        let linker = link(runtime, granted).map_err(|_| cannot_link(name, &label))?;
        let pre = linker.instantiate_pre(&component).map_err(|_| cannot_link(name, &label))?;
        let provider = exports::provider::GuestIndices::new(&pre).map_err(|_| {
            Failure::new(
                Kind::Unsupported,
                "plugin.no-provider",
                format!("the plugin {name} exports no strongroom:plugin/provider@0.1.0"),
            )
            .by_plugin(&*label)
            .help("build it against the contract of this release: strongroom plugin build")
        })?;
        let exports = Exports {
            provider,
            catalog: exports::catalog::GuestIndices::new(&pre).ok(),
            writer: exports::writer::GuestIndices::new(&pre).ok(),
            annotator: exports::annotator::GuestIndices::new(&pre).ok(),
            lifecycle: exports::lifecycle::GuestIndices::new(&pre).ok(),
        };
        Ok(Self { runtime: runtime.clone(), name: name.clone(), label, pre, exports })
    }

    /// The plugin's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The plugin's name and the start of its digest.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn pre(&self) -> &InstancePre<State> {
        &self.pre
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.exports
    }
}

/// The interfaces that `code` imports and exports, as its component names them.
///
/// # Errors
/// As [`Plugin::load`], for code that is not for this engine.
pub fn interfaces(runtime: &Runtime, code: &Code) -> Result<(Vec<String>, Vec<String>), Failure> {
    let component = crate::aot::load(runtime, code)?;
    let exports = component.component_type().exports(&runtime.engine).map(|(name, _)| name.to_owned()).collect();
    Ok((imports(runtime, &component), exports))
}

fn imports(runtime: &Runtime, component: &Component) -> Vec<String> {
    component.component_type().imports(&runtime.engine).map(|(name, _)| name.to_owned()).collect()
}

fn check_imports(name: &Name, label: &str, imports: Vec<String>, granted: &BTreeSet<Interface>) -> Result<(), Failure> {
    for import in imports {
        match Interface::of_import(&import) {
            Ok(None) => {}
            Ok(Some(interface)) if granted.contains(&interface) => {}
            Ok(Some(interface)) => {
                let word = interface.grant();
                return Err(Failure::new(
                    Kind::PolicyDenied,
                    "plugin.import-not-granted",
                    format!("the plugin {name} imports {import}, which it was not granted"),
                )
                .by_plugin(label)
                .help(format!("if it may have it: add \"{word}\" to its manifest's `wants`, and to the mount's `grants` where that is written")));
            }
            Err(UnknownImport) => {
                return Err(Failure::new(
                    Kind::Unsupported,
                    "plugin.import-unknown",
                    format!("the plugin {name} imports {import}, which nothing here provides"),
                )
                .by_plugin(label)
                .help("strongroom plugin inspect lists what a component imports; build for wasm32-unknown-unknown to import only what is used"));
            }
        }
    }
    Ok(())
}

pub(crate) fn cannot_link(name: &Name, label: &str) -> Failure {
    Failure::new(
        Kind::Unsupported,
        "plugin.contract",
        format!("the plugin {name} was built against another version of the contract"),
    )
    .by_plugin(label)
    .help("build it against the contract of this release: strongroom plugin build")
}

fn link(runtime: &Runtime, granted: &BTreeSet<Interface>) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(&runtime.engine);
    for interface in granted {
        match interface {
            Interface::Log => strongroom::plugin::log::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?,
            Interface::Env => strongroom::plugin::env::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?,
            Interface::Store => strongroom::plugin::store::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?,
            Interface::Clock => {
                wasi::clocks::wall_clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
                wasi::clocks::monotonic_clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
                wasmtime_wasi_io::bindings::wasi::io::poll::add_to_linker::<State, TableOf>(&mut linker, |s| {
                    &mut s.table
                })?;
            }
            Interface::Random => wasi::random::random::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?,
        }
    }
    Ok(linker)
}

struct TableOf;

impl wasmtime::component::HasData for TableOf {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}
