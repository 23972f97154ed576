//! A component with exactly its grants linked.
//!
//! The import list is the permission: each plugin has a linker of its own that holds the granted
//! interfaces and nothing else, so that what was not granted is missing when the plugin is loaded,
//! not refused when an attacker reaches it.

use std::collections::BTreeSet;

use strongroom_core::manifest::Grant;
use strongroom_core::{Failure, Kind, Name, Text};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::aot::Code;
use crate::bindings::exports::strongroom::plugin as exports;
use crate::bindings::{strongroom, wasi};
use crate::call::State;
use crate::capability::{STUBBED, link_stub};
use crate::engine::Runtime;

/// The grants that this release can link.
pub const LINKABLE: [Grant; 11] = [
    Grant::Log,
    Grant::Env,
    Grant::Store,
    Grant::Http,
    Grant::StoreAndHttp,
    Grant::Sealed,
    Grant::Signer,
    Grant::Tool,
    Grant::Clock,
    Grant::Random,
    Grant::WasiStub,
];

/// The grants of which any one gives an import, the narrowest first. None: it holds types alone.
///
/// # Errors
/// No grant of this release gives it.
pub fn grants_of_import(import: &str) -> Result<&'static [Grant], UnknownImport> {
    let (name, _version) = import.split_once('@').unwrap_or((import, ""));
    Ok(match name {
        "strongroom:plugin/types" => &[],
        "strongroom:plugin/log" => &[Grant::Log],
        "strongroom:plugin/env" => &[Grant::Env],
        "strongroom:plugin/store" => &[Grant::Store],
        "strongroom:plugin/sealed" => &[Grant::Sealed],
        "strongroom:plugin/signer" => &[Grant::Signer],
        "strongroom:plugin/tool" => &[Grant::Tool],
        "wasi:clocks/wall-clock" | "wasi:clocks/monotonic-clock" => &[Grant::Clock, Grant::WasiStub],
        "wasi:io/poll" => &[Grant::Clock, Grant::Http, Grant::WasiStub],
        "wasi:random/random" => &[Grant::Random, Grant::WasiStub],
        "wasi:io/error" | "wasi:io/streams" => &[Grant::Http, Grant::WasiStub],
        "wasi:http/types" | "wasi:http/outgoing-handler" => &[Grant::Http],
        stub if STUBBED.contains(&stub) => &[Grant::WasiStub],
        sockets if sockets.starts_with("wasi:sockets/") => {
            return Err(UnknownImport {
                help: "no plugin gets sockets; for Python: componentize-py componentize --stub-wasi leaves them out",
            });
        }
        _ => {
            return Err(UnknownImport {
                help: "strongroom plugin inspect lists what a component imports; build Rust for \
                       wasm32-unknown-unknown, and JavaScript with `disableFeatures`, to import only what is used",
            });
        }
    })
}

/// An import that nothing in this release provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no interface of that name can be granted")]
pub struct UnknownImport {
    /// What whoever built the component can do.
    pub help: &'static str,
}

pub(crate) struct Exports {
    pub(crate) provider: Option<exports::provider::GuestIndices>,
    pub(crate) catalog: Option<exports::catalog::GuestIndices>,
    pub(crate) writer: Option<exports::writer::GuestIndices>,
    pub(crate) annotator: Option<exports::annotator::GuestIndices>,
    pub(crate) lifecycle: Option<exports::lifecycle::GuestIndices>,
    pub(crate) credential: Option<exports::credential::GuestIndices>,
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
        granted: &BTreeSet<Grant>,
    ) -> Result<Self, Failure> {
        let label = format!("{name}@{digest}");
        let component = crate::aot::load(runtime, code)?;
        check_imports(name, &label, giving(runtime, &component), granted)?;
        let pre = link(runtime, &component, granted)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|error| cannot_link(name, &label, &format!("{error:#}")))?;
        let exports = Exports {
            provider: exports::provider::GuestIndices::new(&pre).ok(),
            catalog: exports::catalog::GuestIndices::new(&pre).ok(),
            writer: exports::writer::GuestIndices::new(&pre).ok(),
            annotator: exports::annotator::GuestIndices::new(&pre).ok(),
            lifecycle: exports::lifecycle::GuestIndices::new(&pre).ok(),
            credential: exports::credential::GuestIndices::new(&pre).ok(),
        };
        if exports.provider.is_none() && exports.credential.is_none() {
            let message = format!(
                "the plugin {name} exports neither strongroom:plugin/provider@0.1.0 nor strongroom:plugin/credential@0.1.0"
            );
            return Err(Failure::new(Kind::Unsupported, "plugin.no-provider", message)
                .by_plugin(&*label)
                .help("build it against the contract of this release: strongroom plugin build"));
        }
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

/// What a plugin imports that is more than types: those need no grant, for they give nothing.
fn giving(runtime: &Runtime, component: &Component) -> Vec<String> {
    let engine = &runtime.engine;
    let gives = |item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        _ => true,
    };
    let ty = component.component_type();
    ty.imports(engine).filter(|(_, import)| gives(&import.ty)).map(|(name, _)| name.to_owned()).collect()
}

fn check_imports(name: &Name, label: &str, imports: Vec<String>, granted: &BTreeSet<Grant>) -> Result<(), Failure> {
    for import in imports {
        match grants_of_import(&import) {
            Ok(grants) if grants.is_empty() || grants.iter().any(|grant| granted.contains(grant)) => {}
            Ok(grants) => {
                let words: Vec<String> = grants.iter().map(|grant| format!("\"{grant}\"")).collect();
                return Err(Failure::new(
                    Kind::PolicyDenied,
                    "plugin.import-not-granted",
                    format!("the plugin {name} imports {import}, which it was not granted"),
                )
                .by_plugin(label)
                .help(format!(
                    "if it may have it: add {} to its manifest's `wants`, and to the mount's `grants` where that is written",
                    words.join(" or ")
                )));
            }
            Err(unknown) => {
                return Err(Failure::new(
                    Kind::Unsupported,
                    "plugin.import-unknown",
                    format!("the plugin {name} imports {import}, which nothing here provides"),
                )
                .by_plugin(label)
                .help(unknown.help));
            }
        }
    }
    Ok(())
}

/// `why` may hold words of the component: it is shown as untrusted text.
pub(crate) fn cannot_link(name: &Name, label: &str, why: &str) -> Failure {
    Failure::new(
        Kind::Unsupported,
        "plugin.contract",
        format!("the plugin {name} was built against another version of the contract: {}", Text::new(why)),
    )
    .by_plugin(label)
    .help("build it against the contract of this release: strongroom plugin build")
}

fn link(runtime: &Runtime, component: &Component, granted: &BTreeSet<Grant>) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(&runtime.engine);
    let has = |grant| granted.contains(&grant);
    let stub = has(Grant::WasiStub);
    if has(Grant::Log) {
        strongroom::plugin::log::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Env) {
        strongroom::plugin::env::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Store) {
        strongroom::plugin::store::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Sealed) {
        strongroom::plugin::sealed::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Signer) {
        strongroom::plugin::signer::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Tool) {
        strongroom::plugin::tool::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Clock) || stub {
        wasi::clocks::wall_clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
        wasi::clocks::monotonic_clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Clock) || has(Grant::Http) || stub {
        io::poll::add_to_linker::<State, TableOf>(&mut linker, |s| &mut s.table)?;
    }
    if has(Grant::Random) || stub {
        wasi::random::random::add_to_linker::<State, HasSelf<State>>(&mut linker, |s| s)?;
    }
    if has(Grant::Http) || stub {
        io::error::add_to_linker::<State, TableOf>(&mut linker, |s| &mut s.table)?;
        io::streams::add_to_linker::<State, TableOf>(&mut linker, |s| &mut s.table)?;
    }
    if has(Grant::Http) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if stub {
        link_stub(&mut linker, runtime, component)?;
    }
    Ok(linker)
}

struct TableOf;

impl wasmtime::component::HasData for TableOf {
    type Data<'a> = &'a mut wasmtime::component::ResourceTable;
}
