//! What describes Strongroom itself: schema, completions, manual page.

use clap::CommandFactory;
use strongroom::{Failure, Kind};

use crate::args::{self, Cli};
use crate::session::{self, Answer, Outcome};

pub fn schema() -> Answer {
    let text = serde_json::to_string_pretty(&strongroom_core::Config::json_schema())
        .map_err(|_| Failure::new(Kind::Internal, "output.json", "the schema cannot be written as JSON"))?;
    session::print(text.as_bytes())?;
    session::print(b"\n")?;
    Ok(Outcome::Done)
}

pub fn completions(options: &args::Completions) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "strongroom", &mut script);
    session::print(&script)?;
    Ok(Outcome::Done)
}

pub fn man(options: &args::Man) -> Answer {
    let failed = |error: std::io::Error| {
        Failure::new(Kind::Unavailable, "output.man", format!("cannot write the manual page: {error}"))
    };
    match &options.out {
        Some(folder) => clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
            session::print(&page)?;
        }
    }
    Ok(Outcome::Done)
}
