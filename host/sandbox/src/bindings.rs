//! The contract `strongroom:plugin@0.1.0` as Rust, generated from `wit/`.
//!
//! Nothing outside this crate sees these types: they are converted at the edge, in [`crate::convert`],
//! so that a second major version of the contract is a second module here and nothing else.
//! `tracing` and `verbose_tracing` must never be set: they would print arguments, which are secrets.

#![allow(missing_docs, missing_debug_implementations, clippy::all, clippy::indexing_slicing)]

wasmtime::component::bindgen!({
    inline: "
        package strongroom:host@0.1.0;
        world plugin {
            import strongroom:plugin/log@0.1.0;
            import strongroom:plugin/env@0.1.0;
            import strongroom:plugin/store@0.1.0;
            import strongroom:plugin/sealed@0.1.0;
            import strongroom:plugin/signer@0.1.0;
            import strongroom:plugin/tool@0.1.0;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:random/random@0.2.12;
            export strongroom:plugin/provider@0.1.0;
            export strongroom:plugin/catalog@0.1.0;
            export strongroom:plugin/writer@0.1.0;
            export strongroom:plugin/annotator@0.1.0;
            export strongroom:plugin/lifecycle@0.1.0;
            export strongroom:plugin/credential@0.1.0;
        }
    ",
    path: "../../wit",
    world: "strongroom:host/plugin",
    imports: {
        "strongroom:plugin/store.get": async | trappable,
        "strongroom:plugin/store.set": async | trappable,
        "strongroom:plugin/store.delete": async | trappable,
        "strongroom:plugin/store.swap": async | trappable,
        "strongroom:plugin/store.keys": async | trappable,
        "strongroom:plugin/tool.run": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "wasi:io": wasmtime_wasi_io::bindings::wasi::io },
});
