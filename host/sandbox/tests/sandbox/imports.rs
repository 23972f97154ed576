//! What is loaded at all: components of the contract, with the imports they were granted.

use strongroom_core::manifest::Grant;
use strongroom_core::{Failure, Kind};
use strongroom_sandbox::plugin::LINKABLE;

use crate::support::*;

const LOG: &str = r#"(import "strongroom:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))"#;

fn logger() -> Guest {
    guest().import("strongroom:plugin/log@0.1.0", LOG).resolve(
        "(call $log (i32.const 2) (i32.const 16) (i32.const 4) (i32.const 0) (i32.const 0))
         (call $one (i32.const 0) (i32.const 16) (i32.const 4))",
    )
}

fn refused(bench: &Bench, component: &[u8], granted: &[Grant]) -> Failure {
    let failure = load(&bench.runtime, component, granted).expect_err("it is not loaded");
    bench.still_answers();
    failure
}

#[test]
fn an_import_that_was_not_granted_is_named_together_with_its_grant() {
    let cases = [
        ("strongroom:plugin/log@0.1.0", "log", "log", "(param i32 i32 i32 i32 i32)"),
        ("strongroom:plugin/env@0.1.0", "names", "env", "(param i32)"),
        ("strongroom:plugin/store@0.1.0", "get", "store", "(param i32 i32 i32)"),
        ("wasi:clocks/wall-clock@0.2.12", "now", "clock", "(param i32)"),
        ("strongroom:plugin/sealed@0.1.0", "reveal", "sealed", "(param i32 i32 i32)"),
        ("strongroom:plugin/tool@0.1.0", "run", "tool", "(param i32 i32 i32 i32 i32)"),
        ("wasi:http/outgoing-handler@0.2.12", "handle", "http", "(param i32 i32 i32 i32)"),
        ("wasi:random/random@0.2.12", "get-random-u64", "random", "(result i64)"),
        ("wasi:random/insecure@0.2.12", "get-insecure-random-u64", "wasi-stub", "(result i64)"),
        ("wasi:cli/environment@0.2.12", "get-environment", "wasi-stub", "(param i32)"),
        ("wasi:cli/exit@0.2.12", "exit", "wasi-stub", "(param i32)"),
    ];
    under_both_allocations(|bench| {
        for (interface, function, grant, signature) in cases {
            let function = format!(r#"(import "{interface}" "{function}" (func {signature}))"#);
            let component = guest().import(interface, &function).build();
            let others: Vec<_> =
                LINKABLE.into_iter().filter(|other| other.name() != grant && *other != Grant::WasiStub).collect();
            for granted in [&[][..], &others] {
                let failure = refused(bench, &component, granted);
                assert_eq!((failure.kind(), failure.code()), (Kind::PolicyDenied, "plugin.import-not-granted"));
                // The first of its imports may be the types of its package.
                let package = interface.split_once('/').expect("a package").0;
                assert!(failure.message().as_str().contains(package), "{failure}");
                let help = failure.helps().iter().any(|line| line.as_str().contains(&format!("\"{grant}\"")));
                assert!(help, "{:?}", failure.helps());
            }
            let own = LINKABLE.into_iter().find(|own| own.name() == grant).expect("a grant");
            assert!(load(&bench.runtime, &component, &[own]).is_ok(), "{grant} alone is enough for {interface}");
        }
    });
}

#[test]
fn a_granted_interface_is_linked_and_answers_as_empty_where_nothing_is_supplied() {
    under_both_allocations(|bench| {
        assert_eq!(only(bench.call(&logger(), call()).expect("an answer")).expose_text(), Some("good"));
    });
}

#[test]
fn an_import_that_no_grant_gives_is_unsupported_whatever_was_granted() {
    let cases = [
        ("wasi:sockets/instance-network@0.2.12", "instance-network", "(result i32)"),
        ("wasi:sockets/tcp-create-socket@0.2.12", "create-tcp-socket", "(param i32 i32)"),
        ("strongroom:plugin/token@0.1.0", "get", "(param i32 i32 i32)"),
    ];
    under_both_allocations(|bench| {
        for (interface, function, signature) in cases {
            let function = format!(r#"(import "{interface}" "{function}" (func {signature}))"#);
            let failure = refused(bench, &guest().import(interface, &function).build(), &LINKABLE);
            assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.import-unknown"), "{interface}");
            let package = interface.split_once('/').expect("a package").0;
            assert!(failure.message().as_str().contains(package), "{failure}");
        }
    });
}

#[test]
fn a_core_function_of_a_granted_name_in_another_shape_is_not_linked() {
    // `types` holds types alone and needs no grant, so a function put into it must not pass.
    let component =
        wat::parse_str(r#"(component (import "strongroom:plugin/types@0.1.0" (instance (export "escape" (func)))))"#)
            .expect("a component");
    under_both_allocations(|bench| {
        let failure = refused(bench, &component, &LINKABLE);
        assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.contract"), "{failure:?}");
    });
}

#[test]
fn an_interface_of_another_version_is_another_contract() {
    let component = wat::parse_str(
        r#"(component (import "strongroom:plugin/env@0.2.0" (instance
             (export "names" (func (result (list string)))))))"#,
    )
    .expect("a component");
    under_both_allocations(|bench| {
        let failure = refused(bench, &component, &LINKABLE);
        assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.contract"), "{failure:?}");
        let failure = refused(bench, &component, &[]);
        assert_eq!(failure.code(), "plugin.import-not-granted");
    });
}

#[test]
fn an_import_of_a_bare_name_or_of_a_module_is_unsupported() {
    for import in [r#"(import "escape" (func))"#, r#"(import "m" (core module))"#] {
        let component = wat::parse_str(format!("(component {import})")).expect("a component");
        under_both_allocations(|bench| {
            let failure = refused(bench, &component, &LINKABLE);
            assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.import-unknown"), "{failure:?}");
        });
    }
}

#[test]
fn a_component_that_exports_no_provider_is_none() {
    let empty = wat::parse_str("(component)").expect("a component");
    let other = component(
        "package test:guest; interface other { f: func(); } world guest { export other; }",
        r#"(module (func (export "test:guest/other#f")))"#,
    );
    under_both_allocations(|bench| {
        for component in [&empty, &other] {
            let failure = refused(bench, component, &LINKABLE);
            assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.no-provider"), "{failure:?}");
        }
    });
}

#[test]
fn a_provider_of_another_shape_is_never_called() {
    let component = wat::parse_str(format!(
        r#"(component
             (core module $m (func (export "resolve") (result i32) unreachable))
             (core instance $i (instantiate $m))
             (func $resolve (result u32) (canon lift (core func $i "resolve")))
             (instance $provider (export "resolve" (func $resolve)))
             (export "{}" (instance $provider)))"#,
        RESOLVE.trim_end_matches("#resolve")
    ))
    .expect("a component");
    under_both_allocations(|bench| {
        let plugin = load(&bench.runtime, &component, &[]).expect("its names are right");
        let failure = block_on(plugin.resolve(call(), &references(1))).expect_err("not called");
        assert_eq!((failure.kind(), failure.code()), (Kind::Unsupported, "plugin.contract"), "{failure:?}");
        bench.still_answers();
    });
}

#[test]
fn what_is_no_component_is_not_compiled() {
    let truncated = {
        let component = guest().build();
        component[..component.len() / 2].to_vec()
    };
    let cases: [(&str, Vec<u8>); 6] = [
        ("nothing", Vec::new()),
        ("garbage", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("a core module", wat::parse_str("(module)").expect("a module")),
        ("text", b"(component)".to_vec()),
        ("half a component", truncated),
        ("compiled code", compiled()),
    ];
    under_both_allocations(|bench| {
        for (what, bytes) in &cases {
            let failure = bench.runtime.compile(bytes).expect_err(what);
            assert_eq!((failure.kind(), failure.code()), (Kind::InvalidConfig, "plugin.not-a-component"), "{what}");
        }
        bench.still_answers();
    });
}

#[test]
fn what_guests_do_not_need_is_not_compiled() {
    let cases = [
        ("64-bit memory", "(memory i64 1)"),
        ("two memories", "(memory 1) (memory 1)"),
        ("shared memory", "(memory 1 1 shared)"),
        ("a tail call", "(func $f return_call $f)"),
        ("relaxed SIMD", "(func (result v128) (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))"),
        ("wide arithmetic", "(func (result i64 i64) (i64.mul_wide_s (i64.const 1) (i64.const 1)))"),
        ("custom pages", "(memory 1 (pagesize 1))"),
        ("garbage collection", "(type (struct (field i32)))"),
        ("exceptions", "(tag)"),
    ];
    under_both_allocations(|bench| {
        for (what, field) in cases {
            let component = wat::parse_str(format!("(component (core module {field}))")).expect(what);
            let failure = bench.runtime.compile(&component).expect_err(what);
            assert_eq!(failure.code(), "plugin.not-a-component", "{what}: {failure:?}");
        }
    });
}

#[test]
fn code_of_one_allocation_loads_under_the_other() {
    let on_demand = Bench::new(strongroom_sandbox::Allocation::OnDemand);
    let pooled = Bench::new(POOLED);
    assert_eq!(on_demand.runtime.compatibility(), pooled.runtime.compatibility());
    for (compiler, loader) in [(&on_demand, &pooled), (&pooled, &on_demand)] {
        let code = strongroom_sandbox::aot::Code::compiled(compiler.runtime.compile(&guest().build()).expect("code"));
        let name = strongroom_core::Name::parse("guest").expect("a name");
        let plugin =
            strongroom_sandbox::Plugin::load(&loader.runtime, &name, "0123abcd", &code, &[].into()).expect("it loads");
        let answers = block_on(plugin.resolve(call(), &references(1))).expect("an answer");
        assert_eq!(only(answers).expose_text(), Some("good"));
    }
}

fn compiled() -> Vec<u8> {
    let runtime = strongroom_sandbox::Runtime::new(strongroom_sandbox::Allocation::OnDemand).expect("a runtime");
    runtime.compile(&guest().build()).expect("code")
}
