//! The command line, as clap reads it. What is written here is what `--help`, the completions and the
//! man page say.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::Signal;
use strongroom::audit::Head;
use strongroom_core::Name;
use strongroom_core::config::units::parse_duration;

/// Give programs their secrets, from sandboxed providers.
///
/// A secret is named by a reference, such as env:NAME, keys://group/name or
/// keyvault:https://v.vault.azure.net/secrets/n. In files a reference stands in ${{...}}.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, propagate_version = true, max_term_width = 100, after_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Examples:
  strongroom run -e TOKEN=env:CI_TOKEN -- ./deploy.sh
  strongroom run -f deployment.yaml -- python train.py
  printf %s \"$KEY\" | strongroom set keys://openai/OPENAI_API_KEY
  strongroom explain keys://openai/OPENAI_API_KEY

Exit status: 2 wrong reference or config, 3 no mount, 4 denied, 5 not signed in, 6 not found,
7 throttled, 8 unavailable, 9 too slow, 10 over a limit, 11 broken plugin, 12 broken integrity,
13 internal, 14 conflict, 15 unsupported, 64 usage. `run` gives the program's own status, and adds
100 to these for failures before it starts.";

#[derive(Debug, Args)]
pub struct Global {
    /// Config file; else STRONGROOM_CONFIG, else the nearest strongroom.toml, and the user's own
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask nothing over the network: of mounts that would, serve only values that their `keep` left in the store
    #[arg(long, global = true)]
    pub offline: bool,
    /// Whether your running `strongroom serve` is asked for what it would answer alike
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub server: Through,
    /// Say less: no warnings, no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Show the log of Strongroom and its plugins; twice for more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Colours in messages
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Through {
    /// If there is one that has read the same config
    Auto,
    /// Everything is done here
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program with its secrets, masked in what it prints
    Run(Run),
    /// Print one secret
    Get(Get),
    /// Set a secret; the value is read from a prompt, standard input, a file or a variable
    Set(Set),
    /// List mounts, or the names under a mount or scope; never values
    List(List),
    /// Delete a secret, one version of it, or a group
    Delete(Delete),
    /// Bring back a deleted secret, where its backend keeps deleted ones for a while
    Recover(Recover),
    /// End a deleted secret for good
    Purge(Purge),
    /// Replace the references in a text by their values
    Inject(Inject),
    /// Would a file resolve? Names every problem, prints no value
    Check(Check),
    /// Say how a reference parses and who would answer it; resolves nothing
    Explain(Explain),
    /// Print resolved variables for tools that cannot run under strongroom
    Export(Export),
    /// Build, inspect and accept plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Look after the encrypted store
    #[command(subcommand)]
    Store(Store),
    /// Verify the audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Ask the policy of a server what it allows
    #[command(subcommand)]
    Policy(Policy),
    /// Make tokens for callers of a server
    #[command(subcommand)]
    Token(Token),
    /// Trust the project's config as it is now
    Trust(Trust),
    /// Sign in a credential that needs a person
    Login(Login),
    /// Forget what is kept of a credential: tokens, and what it was signed in with
    Logout(Logout),
    /// Say whose token is kept for a credential, and how long it is good; never the token
    Whoami(Whoami),
    /// Write a config that works, with comments
    Init(Init),
    /// Answer programs over a Unix socket or TLS, as the config's listeners say
    Serve(Serve),
    /// Check config, plugins, store and this machine, with advice
    Doctor(Doctor),
    /// Print the JSON Schema of the config file
    Schema,
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page, or write the pages of all commands into a folder
    Man(Man),
}

#[derive(Debug, Args)]
pub struct Man {
    /// The folder, which must be there: strongroom.1, strongroom-run.1 and so on
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Which variables to take from where; shared by `run` and `export`.
#[derive(Debug, Args)]
pub struct Variables {
    /// Set NAME to a reference, or to text with ${{...}} in it
    #[arg(short, long = "env", value_name = "NAME=REF")]
    pub env: Vec<String>,
    /// Take variables from a file: YAML (a deployment's environment_variables or a flat map), JSON, TOML, dotenv
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The format of the files, where their names do not tell
    #[arg(long = "file-format", value_name = "FORMAT", value_parser = ["yaml", "json", "toml", "env"])]
    pub file_format: Option<String>,
    /// Only variables of these names (*, ? and [...] match)
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,
    /// All variables but these
    #[arg(long, value_name = "GLOB")]
    pub except: Vec<String>,
    /// Leave ${{...}} that is no reference as it is, such as ${{inputs.lr}}
    #[arg(long)]
    pub keep_unknown: bool,
    /// Let a file set a variable that changes how programs load or connect, such as PATH
    #[arg(long, value_name = "NAME")]
    pub allow_name: Vec<String>,
    /// An Azure ML endpoint's file: if it enforces access to the default secret stores, your own permission is verified too
    #[arg(long, value_name = "FILE")]
    pub endpoint: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
All references are resolved first, side by side. If one fails, nothing starts, and every failure is
listed. The program keeps its terminal, its signals and its exit status; 128+n if signal n ended it.

Examples:
  strongroom run -e DB=env:DB_PASSWORD -- ./migrate
  strongroom run -f deployment.yaml --only 'DB_*' -- python train.py
  strongroom run --as-file TLS_KEY=keys://tls/key -- nginx
  strongroom run --watch -e DB=keyvault:https://v.vault.azure.net/secrets/db -- ./serve
  strongroom run --watch --signal HUP --as-file TLS_KEY=keys://tls/key -- ./serve")]
pub struct Run {
    #[command(flatten)]
    pub variables: Variables,
    /// Give a secret as a file that only the program can read and that ends with it; NAME is its path
    #[arg(long, value_name = "NAME=REF")]
    pub as_file: Vec<String>,
    /// Start from an empty environment
    #[arg(long)]
    pub no_inherit_env: bool,
    /// Do not hand on these variables
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub clean_env: Vec<String>,
    /// Hand on a variable of Strongroom's own, which are removed otherwise
    #[arg(long, value_name = "NAME")]
    pub keep_env: Vec<String>,
    /// Do not mask secrets in what the program prints
    #[arg(long)]
    pub no_mask: bool,
    /// Lead a program that was written for Azure here: its vaults, its managed identity, the secrets of its Azure ML run
    #[arg(long)]
    pub as_azure: bool,
    /// Look the values up again while the program runs; when one has changed, end it and start it with the new ones
    #[arg(long)]
    pub watch: bool,
    /// With --watch: how often; sooner where a value's provider says so
    #[arg(long, value_name = "TIME", requires = "watch", default_value = "1m", value_parser = interval)]
    pub watch_every: Duration,
    /// With --watch: replace the files of --as-file and send the program this signal, such as HUP, instead
    #[arg(long, value_name = "NAME", requires = "watch", value_parser = signal)]
    pub signal: Option<Signal>,
    /// With --watch: how long the program has to end before it is killed
    #[arg(long, value_name = "TIME", requires = "watch", conflicts_with = "signal", default_value = "10s", value_parser = duration)]
    pub grace: Duration,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("a time is written as 30s, 1h30m or 200ms")
}

/// Below this the program's own work would be disturbed for nothing.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, &'static str> {
    let interval = duration(text)?;
    if interval < SHORTEST_INTERVAL { Err("the shortest time between two looks is 100ms") } else { Ok(interval) }
}

/// What a program may be told with: signals that it can catch and that mean nothing to the terminal.
fn signal(text: &str) -> Result<Signal, &'static str> {
    let name = text.to_ascii_uppercase();
    Ok(match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "TERM" => Signal::TERM,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "ALRM" => Signal::ALARM,
        "WINCH" => Signal::WINCH,
        _ => return Err("it is one of HUP, INT, QUIT, TERM, USR1, USR2, ALRM and WINCH"),
    })
}

#[derive(Debug, Args)]
pub struct Get {
    /// The reference
    #[arg(value_name = "REF")]
    pub reference: String,
    /// The value and what is known about it, as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the value to a new file of mode 0600
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "out")]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The value is never an argument: arguments are seen by every process of the machine.

Examples:
  strongroom set keys://openai/OPENAI_API_KEY            (asks, without showing it)
  printf %s \"$KEY\" | strongroom set keys://openai/OPENAI_API_KEY
  strongroom set keys://tls/key --from-file key.pem --content-type application/x-pem-file
  strongroom set keys://openai/target --from-env OPENAI_URL
  strongroom set --batch new-keys.yaml                   (a map of references to values)")]
pub struct Set {
    /// The reference
    #[arg(value_name = "REF", required_unless_present = "batch", conflicts_with = "batch")]
    pub reference: Option<String>,
    /// Read the value from a file, byte for byte
    #[arg(long, value_name = "FILE", conflicts_with = "from_env")]
    pub from_file: Option<PathBuf>,
    /// Read the value from a variable
    #[arg(long, value_name = "NAME")]
    pub from_env: Option<String>,
    /// Set many: a YAML, JSON or TOML map of references to values
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_file", "from_env"])]
    pub batch: Option<PathBuf>,
    /// What the value is, for example text/plain
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// When it expires: seconds since 1970, or a time such as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// A tag; may be given again
    #[arg(long = "tag", value_name = "K=V")]
    pub tags: Vec<String>,
    /// Only if this is the current version; an empty one: only if there is none yet
    #[arg(long, value_name = "VERSION", conflicts_with = "batch")]
    pub expected: Option<String>,
    /// Keep the line's end that standard input ends with
    #[arg(long)]
    pub keep_newline: bool,
}

#[derive(Debug, Args)]
pub struct List {
    /// A mount's name, or a scope such as keys://openai
    #[arg(value_name = "MOUNT")]
    pub scope: Option<String>,
    /// Versions of a secret instead of names
    #[arg(long, requires = "scope")]
    pub versions: bool,
    /// Names that were deleted and can be recovered
    #[arg(long, requires = "scope", conflicts_with = "versions")]
    pub deleted: bool,
    /// Where each mount is written, and which plugin answers it
    #[arg(long, conflicts_with_all = ["scope", "versions", "deleted"])]
    pub sources: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Delete {
    /// The reference; with ?version= only that version
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Recover {
    /// The reference of what was deleted; with ?version= one version, where those are deleted by themselves
    #[arg(value_name = "REF")]
    pub reference: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What is purged is gone: nobody can bring it back. What is there must be deleted first; one version, where
the backend can purge that by itself, need not.")]
pub struct Purge {
    /// The reference of what was deleted; with ?version= one version
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Inject {
    /// The text; standard input by default
    #[arg(short, long = "in", value_name = "IN")]
    pub input: Option<PathBuf>,
    /// A new file of mode 0600; standard output by default
    #[arg(short, long = "out", value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// Replace OUT if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Leave ${{...}} that is no reference as it is
    #[arg(long)]
    pub keep_unknown: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The files
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The format of the files, where their names do not tell
    #[arg(long = "file-format", value_name = "FORMAT", value_parser = ["yaml", "json", "toml", "env"])]
    pub file_format: Option<String>,
    /// Only parse: no plugin runs, no network, no store; for text nobody trusts yet
    #[arg(long)]
    pub parse: bool,
    /// Leave ${{...}} that is no reference as it is
    #[arg(long)]
    pub keep_unknown: bool,
    /// Let a file set a variable that changes how programs load or connect
    #[arg(long, value_name = "NAME")]
    pub allow_name: Vec<String>,
    /// An Azure ML endpoint's file: if it enforces access to the default secret stores, your own permission is verified too
    #[arg(long, value_name = "FILE")]
    pub endpoint: Option<PathBuf>,
    /// The problems as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// The reference
    #[arg(value_name = "REF")]
    pub reference: String,
    /// Say, too, what this caller of a server may do with it, and which rule decides
    #[arg(long = "as", value_name = "CALLER")]
    pub caller: Option<Name>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub variables: Variables,
    /// The format to print
    #[arg(long, value_name = "FORMAT", default_value = "env", value_parser = ["env", "shell", "json", "yaml", "gha"])]
    pub format: String,
}

#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Build a plugin from source, or put a manifest into a component
    Build(PluginBuild),
    /// Say what a component imports, exports and wants; runs nothing
    Inspect(PluginInspect),
    /// Does a component fit its manifest, the contract and this release?
    Check(PluginCheck),
    /// Show what a plugin may do, ask, and write config and lock
    Add(PluginAdd),
    /// Resolve one reference, and tell every request that plugins make for it
    Run(PluginRun),
    /// List bundled and accepted plugins
    List(PluginList),
    /// Remove a plugin from config and lock
    Remove(PluginRemove),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Building runs the source's build scripts with your rights: build only what you would run.")]
pub struct PluginBuild {
    /// The plugin's folder, with Cargo.toml and plugin.toml
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// The file to write; else NAME.wasm in the folder
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A component that is built already (JavaScript, Python): only put the manifest into it
    #[arg(long, value_name = "FILE", requires = "manifest")]
    pub component: Option<PathBuf>,
    /// The manifest for --component
    #[arg(long, value_name = "FILE", requires = "component")]
    pub manifest: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct PluginInspect {
    /// A component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PluginCheck {
    /// A component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct PluginAdd {
    /// A component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The mount's name; else the plugin's
    #[arg(long, value_name = "NAME")]
    pub mount: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For whoever writes a plugin: which rule allowed a request, or what one line would. No secret is shown, the value neither.")]
pub struct PluginRun {
    /// A reference
    #[arg(value_name = "REF")]
    pub reference: String,
}

#[derive(Debug, Args)]
pub struct PluginList {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PluginRemove {
    /// The plugin's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Run a table of cases; the exit status is 4 if one turns out otherwise
    Test(PolicyTest),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A case is who asks, what for, and what the policy is to say:

  [[case]]
  as = \"trainers\"
  reference = \"keyvault:https://myvault.vault.azure.net/secrets/app-db\"
  operation = \"resolve\"
  expect = \"allow\"

  [[case]]
  as = { jwt = { issuer = \"github\", subject = \"repo:stranger/train:ref:refs/heads/main\" } }
  mount = \"keyvault\"
  path = \"secrets/app-db\"
  operation = \"resolve\"
  expect = \"deny\"")]
pub struct PolicyTest {
    /// The table, TOML
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Print a random token of 256 bits, and the digest of it that goes into the config
    New(TokenNew),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The token goes to standard output, once, and is kept nowhere. The digest goes to standard error:
write it into the config as [callers.NAME] token = \"sha256:...\".

Example:
  strongroom token new > token.txt")]
pub struct TokenNew {
    /// In the form of a JWT that ends: for clients that read a token's end, such as Azure ML's first SDK
    #[arg(long)]
    pub jwt: bool,
    /// When a JWT ends, in days from now
    #[arg(long, value_name = "DAYS", default_value_t = 90, requires = "jwt", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Both on standard output, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Say where the store is, how its key is held and what it keeps
    Status(StoreStatus),
    /// Seal everything anew under a new key
    Rotate(StoreRotate),
    /// Hand a mount's data from one plugin lineage to another
    Adopt(StoreAdopt),
}

#[derive(Debug, Args)]
pub struct StoreStatus {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StoreRotate {
    /// How the new key is held
    #[arg(long, value_name = "HOW", value_parser = ["keyring", "passphrase", "file"])]
    pub to: Option<String>,
}

#[derive(Debug, Args)]
pub struct StoreAdopt {
    /// The mount
    #[arg(value_name = "MOUNT")]
    pub mount: String,
    /// The lineage that has the data, for example bundled/keys
    #[arg(long, value_name = "LINEAGE")]
    pub from: String,
    /// The lineage that is to have them, for example file/acme-keys
    #[arg(long, value_name = "LINEAGE")]
    pub to: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Find what was changed, put in or taken away by somebody without the log's key
    Verify(AuditVerify),
    /// Print the number and the MAC of the newest line, to be kept elsewhere
    Head(AuditHead),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Newest lines that are missing show only against a head that was kept elsewhere.

Examples:
  strongroom audit verify
  strongroom audit head > /mnt/elsewhere/head
  strongroom audit verify --head \"$(cat /mnt/elsewhere/head)\"
  strongroom audit verify --key audit.key audit.jsonl.1 audit.jsonl")]
pub struct AuditVerify {
    /// The log's files, the oldest first; else those of the config
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A head that was kept elsewhere: its line must be there
    #[arg(long, value_name = "SEQ:MAC", value_parser = head)]
    pub head: Option<Head>,
    /// The log's key; else the config's
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct AuditHead {
    /// The log's newest file; else the config's
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The log's key; else the config's
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

fn head(text: &str) -> Result<Head, &'static str> {
    Head::parse(text)
        .ok_or("a head is a number, a colon and 64 hexadecimal digits, as `strongroom audit head` prints it")
}

#[derive(Debug, Args)]
pub struct Login {
    /// The credential: a name under [credentials] of the config
    #[arg(value_name = "CREDENTIAL")]
    pub credential: Name,
    /// What the token is for; else the first of the credential's audiences
    #[arg(long, value_name = "RESOURCE")]
    pub audience: Option<String>,
    /// Open no browser: only print the page's address
    #[arg(long)]
    pub no_browser: bool,
    /// Tell what was got as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Logout {
    /// The credential
    #[arg(value_name = "CREDENTIAL")]
    pub credential: Name,
}

#[derive(Debug, Args)]
pub struct Whoami {
    /// The credential
    #[arg(value_name = "CREDENTIAL")]
    pub credential: Name,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Trust {
    /// The config file; else the nearest strongroom.toml
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Forget that it was trusted
    #[arg(long)]
    pub revoke: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Write the mounts that this deployment file needs
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// The format of that file, where its name does not tell
    #[arg(long = "file-format", value_name = "FORMAT", value_parser = ["yaml", "json", "toml", "env"])]
    pub file_format: Option<String>,
    /// The user's own config instead of strongroom.toml here
    #[arg(long)]
    pub user: bool,
}

/// Without any listener in the config it listens on a Unix socket in a folder of yours, for programs that run
/// as you, and on nothing else. A changed config is read anew by itself, or on SIGHUP; SIGTERM ends it after the
/// requests that run.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct Serve {
    /// Read the config, say where it would listen, and stop
    #[arg(long)]
    pub check: bool,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  strongroom serve
  curl --unix-socket \"$XDG_RUNTIME_DIR/strongroom/server.sock\" \\
    'http://localhost/api/v1/secret?reference=keys://openai/OPENAI_API_KEY'";

#[derive(Debug, Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
