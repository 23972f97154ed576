//! Builds everything and runs the main job: a program gets its secrets, and its output shows none.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
    let programs = ["build", "--locked", "--release", "--workspace", "--bin", "strongroom", "--bin", "fake-azure"];
    project.cargo(&programs).run()?;

    let home = Home::new(project)?;
    let strongroom = project.target.join("release/strongroom");
    let strongroom = |args: &[&str]| home.of(project.program(&strongroom, args));
    println!("\nA secret goes into the store, from standard input:");
    strongroom(&["set", "keys://openai/OPENAI_API_KEY"]).run_with(Some(API_KEY))?;
    println!("\nA program runs with all that the deployment file names, and prints it:");
    let args = [&["run", "-f", "examples/pipeline/deployment.yaml", "--"], &PROGRAM[..]].concat();
    strongroom(&args).env("PIPELINE_DB_PASSWORD", PASSWORD).run()?;

    println!("\nA deployment file of Azure ML runs as it is, on an Azure of tests on this machine:");
    let azure = Azure::start(project, &home.0.join("azure"))?;
    let config = azure.config.display().to_string();
    let shown = "env | grep -E '^(AOAI_CONNECTION|OPENAI_KEY|OPENAI_VERSION|USER_SECRET_KV1_KEY)=' | sort";
    strongroom(&["--config", &config, "run", "-f", "examples/azure/deployment.yaml", "--", "sh", "-c", shown]).run()?;
    drop(azure);

    println!(
        "
What happened: strongroom read examples/pipeline/deployment.yaml, had each reference answered by a plugin in a sandbox
of its own (the environment plugin saw one variable, the keys plugin one group of the encrypted store), started the
program with the values in its environment, and masked them in what it printed. For Azure a plugin that holds no secret got a
token, which the host added to the requests of the two others. Nothing was left on this machine.

Try next:
  {0} set keys://demo/TOKEN                    # asks for a value
  {0} run -e TOKEN=keys://demo/TOKEN -- env    # its output shows the value masked
  {0} explain keys://demo/TOKEN                # who would answer, with which rights
  cargo xtask fake-azure                      # that Azure, for as long as you like
  {0} --help",
        project.target.join("release/strongroom").display()
    );
    Ok(())
}

/// The Azure of tests, until it is dropped.
struct Azure {
    child: Child,
    config: PathBuf,
}

impl Azure {
    fn start(project: &Project, folder: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("the Azure of tests did not start: {why}");
        let mut child = Command::new(project.target.join("release/fake-azure"))
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let output = child.stdout.take().ok_or_else(|| failed(&"it says nothing"))?;
        let ready = BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "ready");
        let azure = Self { child, config: folder.join("strongroom.toml") };
        if ready { Ok(azure) } else { Err(failed(&"it ended")) }
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
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
