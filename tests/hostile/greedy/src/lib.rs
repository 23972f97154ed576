//! A provider written as for an ordinary program: it reads the whole environment, opens files, writes
//! to standard output and leaves the process, all through WASI.

mod bindings {
    #![allow(missing_docs, clippy::all)]

    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package strongroom:hostile-greedy;
            world plugin {
                import wasi:cli/environment@0.2.12;
                import wasi:cli/exit@0.2.12;
                import wasi:cli/stdout@0.2.12;
                import wasi:filesystem/preopens@0.2.12;
                import wasi:filesystem/types@0.2.12;
                export strongroom:plugin/provider@0.1.0;
            }
        ",
        world: "strongroom:hostile-greedy/plugin",
        generate_all,
    });

    export!(Greedy with_types_in self);

    use super::Greedy;
}

use bindings::exports::strongroom::plugin::provider;
use bindings::strongroom::plugin::types::{Context, Failure, Kind, Reference, Secret, Value};
use bindings::wasi::cli::{environment, exit, stdout};
use bindings::wasi::filesystem::preopens;
use bindings::wasi::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

struct Greedy;

impl provider::Guest for Greedy {
    fn resolve(_: Context, refs: Vec<Reference>) -> Vec<Result<Secret, Failure>> {
        refs.iter().map(|reference| one(&reference.path)).collect()
    }
}

fn one(path: &[String]) -> Result<Secret, Failure> {
    let told = match path.first().map(String::as_str) {
        Some("environment") => {
            format!(
                "{:?} {:?} {:?}",
                environment::get_environment(),
                environment::get_arguments(),
                environment::initial_cwd()
            )
        }
        Some("exit") => {
            exit::exit(Ok(()));
            String::new()
        }
        Some("print") => {
            let stream = stdout::get_stdout();
            format!("{:?}", stream.blocking_write_and_flush(b"printed by the plugin").is_ok())
        }
        Some(how @ ("read" | "write")) => {
            let wanted = path[1..].join("/");
            let flags = if how == "write" { DescriptorFlags::WRITE } else { DescriptorFlags::READ };
            let create = if how == "write" { OpenFlags::CREATE } else { OpenFlags::empty() };
            let opened = preopens::get_directories()
                .iter()
                .any(|(folder, _)| folder.open_at(PathFlags::empty(), &wanted, create, flags).is_ok());
            format!("{opened} {:?}", std::fs::read(format!("/{wanted}")).is_ok())
        }
        _ => String::new(),
    };
    match told.is_empty() {
        true => Err(Failure {
            kind: Kind::Internal,
            code: "greedy".into(),
            message: "nothing".into(),
            retry_after_ms: None,
            attributes: vec![],
        }),
        false => Ok(Secret {
            value: Value::Text(told),
            version: None,
            content_type: None,
            expires_at: None,
            max_age_ms: None,
            attributes: vec![],
        }),
    }
}
