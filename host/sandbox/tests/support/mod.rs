//! Guests written by hand, and what is needed to call them.
//!
//! A [`Guest`] is a core module in WAT around a few helpers; `build` makes it a component of the
//! contract. Nothing here asserts what the sandbox does but [`Bench::still_answers`].

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use strongroom_core::manifest::Grant;
use strongroom_core::{Failure, Name, Reference, Secret};
use strongroom_sandbox::aot::Code;
use strongroom_sandbox::plugin::LINKABLE;
use strongroom_sandbox::{Allocation, Call, CallLimits, Capabilities, Plugin, Runtime};
use wit_parser::Resolve;

/// The export every guest has.
pub const RESOLVE: &str = "strongroom:plugin/provider@0.1.0#resolve";

/// The helpers every guest's code may call. The heap begins at 64 KiB, so that what lies below is
/// for `data`. An answer is 80 bytes; its payload begins at 8.
const HELPERS: &str = r#"
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1)
          (i32.div_u (i32.sub (global.get $heap) (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))))
        (then unreachable))))
    (local.get $at))
  ;; The pointer to (list, count) that resolve returns.
  (func $give (param $list i32) (param $count i32) (result i32) (local $at i32)
    (local.set $at (call $alloc (i32.const 8)))
    (i32.store (local.get $at) (local.get $list))
    (i32.store offset=4 (local.get $at) (local.get $count))
    (local.get $at))
  ;; One answer with a value: kind 0 is text, 1 binary.
  (func $one (param $kind i32) (param $at i32) (param $len i32) (result i32) (local $list i32)
    (local.set $list (call $alloc (i32.const 80)))
    (i32.store8 offset=8 (local.get $list) (local.get $kind))
    (i32.store offset=12 (local.get $list) (local.get $at))
    (i32.store offset=16 (local.get $list) (local.get $len))
    (call $give (local.get $list) (i32.const 1)))
  ;; One answer whose binary value is eight bytes.
  (func $number (param $number i64) (result i32) (local $at i32)
    (local.set $at (call $alloc (i32.const 8)))
    (i64.store (local.get $at) (local.get $number))
    (call $one (i32.const 1) (local.get $at) (i32.const 8)))
"#;

const REALLOC: &str = "(call $alloc (local.get $new))";

/// A guest under construction.
#[derive(Clone)]
pub struct Guest {
    world: String,
    interfaces: String,
    imports: String,
    items: String,
    memory: String,
    realloc: String,
    resolve: String,
}

/// A guest that answers with the text `good` and does nothing else.
pub fn guest() -> Guest {
    Guest {
        world: "export strongroom:plugin/provider@0.1.0;".to_owned(),
        interfaces: String::new(),
        imports: String::new(),
        items: r#"(data (i32.const 16) "good")"#.to_owned(),
        memory: "2".to_owned(),
        realloc: REALLOC.to_owned(),
        resolve: "(call $one (i32.const 0) (i32.const 16) (i32.const 4))".to_owned(),
    }
}

impl Guest {
    /// Imports `interface`, with the core functions `functions` (`(import ...)`) of it.
    pub fn import(mut self, interface: &str, functions: &str) -> Self {
        let _ = writeln!(self.world, "import {interface};");
        self.imports.push_str(functions);
        self
    }

    /// Core functions of what the guest itself defines: `[resource-new]` and the like.
    pub fn import_function(mut self, function: &str) -> Self {
        self.imports.push_str(function);
        self
    }

    /// More WIT: interfaces of the package, and lines of the world.
    pub fn wit(mut self, interfaces: &str, world: &str) -> Self {
        self.interfaces.push_str(interfaces);
        self.world.push_str(world);
        self
    }

    /// More fields of the core module. Below 64 KiB the memory is theirs from 1024 on.
    pub fn items(mut self, items: &str) -> Self {
        self.items.push_str(items);
        self
    }

    /// The limits of the memory, in pages: `2`, `2 10`.
    pub fn memory(mut self, pages: &str) -> Self {
        pages.clone_into(&mut self.memory);
        self
    }

    /// The body of `cabi_realloc`; the new size is `$new`.
    pub fn realloc(mut self, body: &str) -> Self {
        body.clone_into(&mut self.realloc);
        self
    }

    /// The body of `resolve`; its references are `$refs` and `$count`, `$x` and `$y` (i32), `$n` and
    /// `$m` (i64) are free.
    pub fn resolve(mut self, body: &str) -> Self {
        body.clone_into(&mut self.resolve);
        self
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        let Self { world, interfaces, imports, items, memory, realloc, resolve } = self;
        let module = format!(
            r#"(module {imports} (memory (export "memory") {memory}) {HELPERS} {items}
              (func $realloc (export "cabi_realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
                (result i32) {realloc})
              (func $resolve (export "{RESOLVE}")
                (param $config i32) (param $config_len i32) (param $deadline i32) (param $attributes i32)
                (param $attributes_len i32) (param $refs i32) (param $count i32) (result i32)
                (local $x i32) (local $y i32) (local $n i64) (local $m i64)
                {resolve}))"#
        );
        component(&format!("package test:guest;\n{interfaces}\nworld guest {{ {world} }}"), &module)
    }

    /// The guest, compiled and loaded with every grant.
    pub fn load(&self, runtime: &Runtime) -> Plugin {
        load(runtime, &self.build(), &LINKABLE).expect("the guest loads")
    }
}

/// The component of a core module in WAT and the world `guest` of `wit`.
pub fn component(wit: &str, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")).expect("the contract");
    let package = resolve.push_str("guest.wit", wit).expect("the guest's world");
    let world = resolve.select_world(&[package], Some("guest")).expect("a world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8)
        .expect("metadata");
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// `component`, which then instantiates the core module `module` another `times` times. A component
/// is a sequence of sections, so what comes later is appended.
pub fn with_instances(mut component: Vec<u8>, module: &str, times: u32) -> Vec<u8> {
    let mut modules = 0;
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(&component) {
        match payload.expect("a valid component") {
            wasmparser::Payload::ModuleSection { .. } => {
                modules += u32::from(depth == 0);
                depth += 1;
            }
            wasmparser::Payload::ComponentSection { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    let module = wat::parse_str(module).expect("a module");
    section(&mut component, 1, &module);
    let mut instances = Vec::new();
    leb(&mut instances, times);
    for _ in 0..times {
        instances.push(0);
        leb(&mut instances, modules);
        instances.push(0);
    }
    section(&mut component, 2, &instances);
    component
}

fn section(component: &mut Vec<u8>, id: u8, bytes: &[u8]) {
    component.push(id);
    leb(component, u32::try_from(bytes.len()).expect("a small section"));
    component.extend_from_slice(bytes);
}

fn leb(out: &mut Vec<u8>, mut number: u32) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        out.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            return;
        }
    }
}

/// Compiles and loads a component.
pub fn load(runtime: &Runtime, component: &[u8], granted: &[Grant]) -> Result<Plugin, Failure> {
    let code = Code::compiled(runtime.compile(component)?);
    let granted: BTreeSet<_> = granted.iter().copied().collect();
    Plugin::load(runtime, &name(), "0123abcd", &code, &granted)
}

fn name() -> Name {
    Name::parse("guest").expect("a name")
}

/// A runtime that the tests of one binary share, and a good guest on it.
pub struct Bench {
    pub runtime: Runtime,
    pub good: Plugin,
}

impl Bench {
    pub fn new(allocation: Allocation) -> Self {
        let runtime = Runtime::new(allocation).expect("a runtime");
        let good = guest().load(&runtime);
        Self { runtime, good }
    }

    /// After whatever happened, the next call on the same runtime is answered.
    pub fn still_answers(&self) {
        let answers = block_on(self.good.resolve(call(), &references(1))).expect("the good guest answers");
        assert_eq!(only(answers).expose_text(), Some("good"));
    }

    /// Loads `guest` with all grants, calls it once under `call`, and then the good guest.
    pub fn call(&self, guest: &Guest, call: Call) -> Answers {
        let answers = block_on(guest.load(&self.runtime).resolve(call, &references(1)));
        self.still_answers();
        answers
    }

    /// As [`Bench::call`], for a guest whose call must fail as a whole.
    pub fn fails(&self, guest: &Guest) -> Failure {
        self.call(guest, call()).expect_err("the call fails")
    }

    /// As [`Bench::call`], for a guest whose one answer is eight bytes.
    pub fn number(&self, guest: &Guest, call: Call) -> u64 {
        number(&only(self.call(guest, call).expect("an answer")))
    }
}

pub type Answers = Result<Vec<Result<Secret, Failure>>, Failure>;

pub const POOLED: Allocation = Allocation::Pooled { slots: 8, memory_bytes: 64 << 20 };

/// Runs `test` with instances allocated each way. The engines are made once for a test binary.
pub fn under_both_allocations(test: impl Fn(&Bench)) {
    static BENCHES: LazyLock<[Bench; 2]> = LazyLock::new(|| [Bench::new(Allocation::OnDemand), Bench::new(POOLED)]);
    for bench in &*BENCHES {
        test(bench);
    }
}

/// A call with default limits, everything absent, and a deadline that only a hang reaches.
pub fn call() -> Call {
    Call {
        config: "{}".to_owned(),
        attributes: Vec::new(),
        deadline: Instant::now() + Duration::from_secs(20),
        limits: CallLimits::default(),
        capabilities: Capabilities::default(),
        usage: std::sync::Arc::default(),
    }
}

/// `count` references with the paths `name-0`, `name-1` and so on.
pub fn references(count: usize) -> Vec<Reference> {
    let reference = |index| Reference {
        mount: None,
        scheme: "test".into(),
        authority: Some("vault.example".to_owned()),
        path: vec![format!("name-{index}")],
        selectors: vec![("version".to_owned(), "7".to_owned())],
        field: None,
    };
    (0..count).map(reference).collect()
}

/// The one secret of a call's answer.
pub fn only(answers: Vec<Result<Secret, Failure>>) -> Secret {
    assert_eq!(answers.len(), 1);
    answers.into_iter().next().expect("one answer").expect("a secret")
}

/// The one failure of a call's answer.
pub fn only_failure(answers: Vec<Result<Secret, Failure>>) -> Failure {
    assert_eq!(answers.len(), 1);
    answers.into_iter().next().expect("one answer").expect_err("a failure")
}

pub fn number(secret: &Secret) -> u64 {
    u64::from_le_bytes(secret.expose().try_into().expect("eight bytes"))
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a tokio runtime").block_on(future)
}
