//! `export`: resolved variables in plain text, for tools that cannot run under `strongroom run`.

use std::io::IsTerminal;

use strongroom_core::export::{self, ExportFormat};

use crate::args;
use crate::session::{self, Answer, Outcome, Session};
use crate::variables;

pub fn run(session: &Session, options: &args::Export) -> Answer {
    let strongroom = session.open()?;
    let mut allowed = options.variables.allow_name.clone();
    allowed.extend(strongroom.run_config().allow_names.iter().cloned());
    let wanted = variables::wanted(&options.variables, &allowed, strongroom.shapes())?;
    let enforced = variables::enforces(options.variables.endpoint.as_deref())?;
    let resolved = session.block_on(variables::resolve(&strongroom, wanted, enforced))??;
    let format = ExportFormat::from_name(&options.format).unwrap_or(ExportFormat::Env);
    let entries: Vec<(String, &[u8])> = resolved.iter().map(|one| (one.name.clone(), one.value.as_slice())).collect();
    let text = export::write(format, &entries, nonce()?)?;
    if format == ExportFormat::Gha {
        // Workflow commands are read from standard error as well, which the environment file is not
        // redirected from.
        let secrets: Vec<&[u8]> = resolved.iter().flat_map(|one| &one.secrets).map(|secret| secret.expose()).collect();
        use std::io::Write;
        let _ = std::io::stderr().write_all(&export::gha_masks(&secrets));
    }
    if std::io::stdout().is_terminal() {
        session.reporter.note("these are plain secrets; a terminal keeps them in its history of lines");
    }
    session::print(&text)?;
    Ok(Outcome::Done)
}

fn nonce() -> Result<u128, strongroom::Failure> {
    let failed = |_| {
        strongroom::Failure::new(strongroom::Kind::Internal, "system.random", "the system has no randomness to give")
    };
    let high = getrandom::u64().map_err(failed)?;
    let low = getrandom::u64().map_err(failed)?;
    Ok(u128::from(high) << 64 | u128::from(low))
}
