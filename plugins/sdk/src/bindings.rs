//! Made from the contract by wit-bindgen. Public only because the export macros reach in from the
//! author's crate; nothing here is promised.
//!
//! One world holds every import: what a plugin does not call, its component does not import. Each
//! export is a world of its own, whose macro alone puts it into a component: a plugin that has no
//! catalog must not look as if it had one.

#![allow(unsafe_code, missing_docs, missing_debug_implementations, clippy::all)]
#![allow(clippy::mem_forget, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::unreachable)]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package strongroom:sdk;
        world imports {
            import strongroom:plugin/types@0.1.0;
            import strongroom:plugin/log@0.1.0;
            import strongroom:plugin/env@0.1.0;
            import strongroom:plugin/store@0.1.0;
            import strongroom:plugin/token@0.1.0;
            import strongroom:plugin/signer@0.1.0;
            import strongroom:plugin/sealed@0.1.0;
            import strongroom:plugin/tool@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
        }
    ",
    world: "strongroom:sdk/imports",
    generate_all,
});

pub mod provider {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world provider-export { export strongroom:plugin/provider@0.1.0; }",
        world: "strongroom:sdk/provider-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}

pub mod catalog {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world catalog-export { export strongroom:plugin/catalog@0.1.0; }",
        world: "strongroom:sdk/catalog-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}

pub mod writer {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world writer-export { export strongroom:plugin/writer@0.1.0; }",
        world: "strongroom:sdk/writer-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}

pub mod annotator {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world annotator-export { export strongroom:plugin/annotator@0.1.0; }",
        world: "strongroom:sdk/annotator-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world lifecycle-export { export strongroom:plugin/lifecycle@0.1.0; }",
        world: "strongroom:sdk/lifecycle-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}

pub mod credential {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package strongroom:sdk; world credential-export { export strongroom:plugin/credential@0.1.0; }",
        world: "strongroom:sdk/credential-export",
        with: { "strongroom:plugin/types@0.1.0": crate::bindings::strongroom::plugin::types },
        pub_export_macro: true,
    });
}
