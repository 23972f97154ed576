//! Builds everything and runs the main job: a program gets its secrets, and its output shows none.

use std::fs;
use std::path::PathBuf;

use crate::plugins::plugins;
use crate::shell::{Done, Project, Step};

/// Stand-ins. They are in the repository, so they are no secrets.
const PASSWORD: &str = "correct-horse-battery-staple";
const API_KEY: &[u8] = b"sk-quickstart-0123456789abcdef";

/// The program that the job runs: it prints what it was given, which the output shows masked.
const PROGRAM: [&str; 3] =
    ["sh", "-c", "env | grep -E '^(DB_PASSWORD|OPENAI_API_KEY|OPENAI_ALL|DB_URL|LOG_LEVEL)=' | sort"];

/// Runs the quickstart.
pub fn quickstart(project: &Project) -> Done {
    plugins(project)?;
    project.cargo(&["build", "--locked", "--release", "--workspace", "--bin", "strongroom"]).run()?;

    let home = Home::new(project)?;
    let strongroom = project.target.join("release/strongroom");
    let strongroom = |args: &[&str]| home.of(project.program(&strongroom, args));
    println!("\nA secret goes into the store, from standard input:");
    strongroom(&["set", "keys://openai/OPENAI_API_KEY"]).run_with(Some(API_KEY))?;
    println!("\nA program runs with all that the deployment file names, and prints it:");
    let args = [&["run", "-f", "examples/pipeline/deployment.yaml", "--"], &PROGRAM[..]].concat();
    strongroom(&args).env("PIPELINE_DB_PASSWORD", PASSWORD).run()?;

    println!(
        "
What happened: strongroom read examples/pipeline/deployment.yaml, had each reference answered by a plugin in a sandbox
of its own (the environment plugin saw one variable, the keys plugin one group of the encrypted store), started the
program with the values in its environment, and masked them in what it printed. Nothing was left on this machine.

Try next:
  {0} set keys://demo/TOKEN                    # asks for a value
  {0} run -e TOKEN=keys://demo/TOKEN -- env    # its output shows the value masked
  {0} explain keys://demo/TOKEN                # who would answer, with which rights
  {0} --help",
        project.target.join("release/strongroom").display()
    );
    Ok(())
}

/// A store and settings of their own, gone with the quickstart.
struct Home(PathBuf);

impl Home {
    fn new(project: &Project) -> Result<Self, String> {
        let folder = project.target.join(format!("quickstart-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        Ok(Self(folder))
    }

    fn of(&self, step: Step) -> Step {
        ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"]
            .iter()
            .fold(step, |step, name| step.env(name, self.0.join(name)))
            // Else the store's key would go into the user's own keyring.
            .env("STRONGROOM_PASSPHRASE", "quickstart")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
