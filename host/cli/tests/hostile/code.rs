//! Files that are made to harm whoever looks at them, compiles them or reads what they say of
//! themselves: through the command line, as a person meets them.

#[path = "../cli/support.rs"]
#[allow(dead_code, reason = "the other suite uses the rest")]
mod support;

use std::fmt::Write as _;
use std::time::Duration;

use strongroom::{Compiler, Kind};
use strongroom_builder::build::assemble;

pub use self::support::Home;
use crate::nine_attacks::GREEDY;
use crate::sections::leb;
use crate::world::{PROGRAM, component, plugin_file, within};

/// Accepts the guest `name` with this manifest into the user's own config.
pub fn add(home: &Home, name: &str, manifest: &str) {
    home.write("plugin.wasm", plugin_file(name, manifest));
    home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done().ok();
}

/// A component that imports `import` is neither accepted nor run.
pub fn refused_component(import: &str, wants: &str, code: &str) {
    let home = Home::new();
    let wasm = wat::parse_str(format!(r#"(component (import "{import}" (instance (export "run" (func)))))"#)).unwrap();
    let manifest = GREEDY.replace("\"wasi-stub\"", wants);
    home.write("plugin.wasm", assemble(&wasm, manifest.as_bytes()).unwrap());
    let done = home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done();
    assert!(matches!(done.status, 4 | 15), "{}", done.err());
    done.says(&format!("[{code}]")).says(import.split('@').next().unwrap());
    assert!(!home.user_config().exists());
}

/// Everything that a person can be shown of a plugin file.
fn shown(home: &Home, file: &str) -> String {
    let mut all = String::new();
    for command in [
        &["plugin", "inspect", file][..],
        &["plugin", "inspect", "--json", file],
        &["plugin", "check", file],
        &["plugin", "add", file],
        &["plugin", "add", "--yes", file],
        &["plugin", "list"],
        &["list"],
        &["doctor"],
    ] {
        let done = home.strongroom(command).done();
        let _ = write!(all, "{}{}", done.out(), done.err());
    }
    all
}

fn assert_harmless(text: &str) {
    let harmful = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    assert_eq!(text.chars().find(harmful), None, "{text:?}");
}

const ESCAPES: &str =
    r"\u001b[2J\u001b]0;owned\u0007\r\nforged line\u009b31m\u202etxet\u2066\u200b\u200d\ufeff\u0000\u007f";

#[test]
fn escapes_in_every_text_of_a_manifest() {
    let texts = [
        ("name", GREEDY.replace("name = \"hostile-greedy\"", &format!("name = \"x{ESCAPES}\""))),
        ("version", GREEDY.replace("0.1.0", &format!("0.1.0{ESCAPES}"))),
        ("description", GREEDY.replace("wants", &format!("description = \"{ESCAPES}\"\nwants"))),
        ("scheme", GREEDY.replace("\"greedy\"]", &format!("\"greedy{ESCAPES}\"]"))),
        ("a word of the reference", GREEDY.replace("\"what\"", &format!("\"what{ESCAPES}\""))),
        ("a grant", GREEDY.replace("wasi-stub", &format!("wasi-stub{ESCAPES}"))),
        ("an unknown key", GREEDY.replace("wants", &format!("\"k{ESCAPES}\" = 1\nwants"))),
        ("an origin", format!("{GREEDY}[[http]]\norigin = \"https://{ESCAPES}\"\nallow = [\"GET /\"]\n")),
        ("a route", format!("{GREEDY}[[http]]\norigin = \"https://h.test\"\nallow = [\"GET /{ESCAPES}\"]\n")),
        (
            "a header",
            format!(
                "{GREEDY}[[http]]\norigin = \"https://h.test\"\nallow = [\"GET /\"]\nheaders = [\"x: {ESCAPES}\"]\n"
            ),
        ),
        ("a description in the schema", format!("{GREEDY}[config]\ntype = \"object\"\ndescription = \"{ESCAPES}\"\n")),
        (
            "a property of the schema",
            format!(
                "{GREEDY}[config]\ntype = \"object\"\nrequired = [\"k{ESCAPES}\"]\n[config.properties.\"k{ESCAPES}\"]\ntype = \"string\"\n"
            ),
        ),
        (
            "a pattern of the schema",
            format!("{GREEDY}[config]\ntype = \"object\"\npatternProperties = {{ \"({ESCAPES}\" = true }}\n"),
        ),
    ];
    for (what, manifest) in texts {
        let home = Home::new();
        home.write("plugin.wasm", assemble(&component("greedy"), manifest.as_bytes()).unwrap());
        let shown = shown(&home, "plugin.wasm");
        assert_harmless(&shown);
        assert!(!shown.lines().any(|line| line.starts_with("forged line")), "{what}: {shown}");
    }
}

#[test]
fn escapes_in_the_names_of_a_components_parts() {
    let home = Home::new();
    let custom = wat::parse_str("(component (@custom \"\\1b[31mred\\e2\\80\\ae\" \"\\1b[31m\"))").unwrap();
    home.write("plugin.wasm", assemble(&custom, GREEDY.as_bytes()).unwrap());
    assert_harmless(&shown(&home, "plugin.wasm"));
}

#[test]
fn two_manifests_in_one_component() {
    let home = Home::new();
    let mut twice = plugin_file("greedy", GREEDY);
    let second = GREEDY.replace("wasi-stub", "");
    let name = b"strongroom:manifest@1";
    section(&mut twice, 0, &[&[name.len() as u8], &name[..], second.as_bytes()].concat());
    home.write("plugin.wasm", twice);
    for command in [["plugin", "check", "plugin.wasm"].as_slice(), &["plugin", "add", "--yes", "plugin.wasm"]] {
        let done = home.strongroom(command).done();
        assert_ne!(done.status, 0);
        done.says("manifest");
    }
    assert!(!home.user_config().exists());
}

#[test]
fn a_manifest_that_hides_in_an_inner_component() {
    let home = Home::new();
    let inner = wat::parse_str("(component (component (@custom \"strongroom:manifest@1\" \"name = 'x'\")))").unwrap();
    home.write("plugin.wasm", inner);
    let done = home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done();
    assert_ne!(done.status, 0);
    assert!(!home.user_config().exists());
}

#[test]
fn a_manifest_of_a_megabyte() {
    let home = Home::new();
    let mut file = component("greedy");
    let name = b"strongroom:manifest@1";
    let huge = format!("{GREEDY}#{}", "x".repeat(1 << 20));
    section(&mut file, 0, &[&[name.len() as u8], &name[..], huge.as_bytes()].concat());
    home.write("plugin.wasm", file);
    let done = home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done();
    assert_ne!(done.status, 0);
    assert!(done.err().len() < 4096, "it is not repeated");
    assert!(!home.user_config().exists());
}

#[test]
fn a_name_that_is_a_bundled_plugins() {
    let home = Home::new();
    for name in ["env", "keys", "file", "auth-token"] {
        home.write("plugin.wasm", plugin_file("greedy", &GREEDY.replace("hostile-greedy", name)));
        home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done().fails(4, "plugin.reserved-name");
    }
    assert!(!home.user_config().exists());
}

#[test]
fn a_scheme_that_is_strongrooms() {
    let home = Home::new();
    for scheme in ["env", "keys", "keyvault", "azureml", "file"] {
        let manifest = GREEDY.replace("\"greedy\"]", &format!("\"{scheme}\"]"));
        home.write("plugin.wasm", assemble(&component("greedy"), manifest.as_bytes()).unwrap());
        let done = home.strongroom(["plugin", "add", "--yes", "plugin.wasm"]).done();
        assert!(matches!(done.status, 2 | 4), "{scheme}: {}", done.err());
    }
    assert!(!home.user_config().exists());
}

#[test]
fn a_file_that_is_exchanged_after_it_was_accepted() {
    let home = Home::new();
    add(&home, "greedy", GREEDY);
    home.strongroom(["get", "greedy://environment/all"]).done().ok();
    home.write("plugin.wasm", plugin_file("greedy", &GREEDY.replace("0.1.0", "0.1.1")));
    home.strongroom(["get", "greedy://environment/all"]).done().fails(12, "plugin.digest");
}

#[test]
fn an_upgrade_that_wants_more() {
    let home = Home::new();
    let modest = GREEDY.replace("wants = [\"wasi-stub\"]", "wants = [\"wasi-stub\"]\n");
    add(&home, "greedy", &modest);
    let grown = GREEDY.replace("\"greedy\"]", "\"greedy\", \"other\"]");
    home.write("grown.wasm", plugin_file("greedy", &grown));
    let done = home.strongroom(["plugin", "add", "grown.wasm"]).done().fails(15, "confirm.no-terminal");
    done.says("other");
    // Whoever only changes the config has not agreed to it.
    let config = std::fs::read_to_string(home.user_config()).unwrap();
    let digest = strongroom_core::Digest::of(&plugin_file("greedy", &grown)).to_string();
    let old = config.split('"').find(|part| part.starts_with("sha256:")).unwrap().to_owned();
    home.configure(&config.replace(&old, &digest).replace("plugin.wasm", "grown.wasm"));
    home.strongroom(["get", "greedy://environment/all"]).done().fails(4, "lock.rights-grew");
}

#[test]
fn a_plugin_without_an_entry_in_the_lock() {
    let home = Home::new();
    add(&home, "greedy", GREEDY);
    std::fs::write(home.user_config().with_file_name("strongroom.lock"), "").unwrap();
    let done = home.strongroom(["get", "greedy://environment/all"]).done();
    assert_eq!(done.status, 4, "{}", done.err());
    done.says("lock");
}

#[test]
fn code_of_another_plugin_in_the_cache() {
    let home = Home::new();
    add(&home, "greedy", GREEDY);
    home.strongroom(["get", "greedy://environment/all"]).done().ok();
    let other = GREEDY.replace("hostile-greedy", "second").replace("\"greedy\"]", "\"second\"]");
    home.write("second.wasm", plugin_file("greedy", &other));
    home.strongroom(["plugin", "add", "--yes", "second.wasm"]).done().ok();
    // Whoever can write the cache exchanges two entries that are both good.
    let folder = home.path("home/.cache/strongroom/code");
    let entries = |ending: &str| {
        let mut found: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.extension().is_some_and(|known| known == ending))
            .collect();
        found.sort();
        found
    };
    let mut endings: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().path().extension().map(|ending| ending.to_string_lossy().into_owned()))
        .collect();
    endings.sort();
    endings.dedup();
    let mut exchanged = 0;
    for ending in endings {
        if let [first, second] = entries(&ending).as_slice() {
            let aside = folder.join("aside");
            std::fs::rename(first, &aside).unwrap();
            std::fs::rename(second, first).unwrap();
            std::fs::rename(aside, second).unwrap();
            exchanged += 1;
        }
    }
    assert!(exchanged > 0, "there is something to exchange");
    for reference in ["greedy://environment/all", "second://environment/all"] {
        let done = home.strongroom(["get", reference]).done().ok();
        assert_eq!(done.out(), "[] [] None", "compiled again, from its own file");
    }
}

/// A component that takes far longer to compile than to read: one expensive function, many times.
fn bomb(times: usize, depth: usize) -> Vec<u8> {
    let step = "(local.set 0 (i64.rotl (i64.mul (local.get 0) (i64.add (local.get 1) (i64.load (i32.wrap_i64 (local.get 2))))) \
                (local.get 3))) (if (i64.eqz (local.get 0)) (then (local.set 1 (i64.xor (local.get 2) (local.get 0)))) \
                (else (local.set 2 (i64.div_u (local.get 1) (local.get 0)))))";
    let function = format!("(func (param i64 i64 i64 i64) (result i64) {} (local.get 0))", step.repeat(depth));
    let one = wat::parse_str(format!("(module (memory 1) {function})")).unwrap();
    let mut module = one[..8].to_vec();
    let mut at = 8;
    while at < one.len() {
        let id = one[at];
        at += 1;
        let size = leb(&one, &mut at);
        let content = &one[at..at + size];
        at += size;
        match id {
            // Which types the functions have, and their code: a count, and then each.
            3 | 10 => section(&mut module, id, &[&number(times)[..], &content[1..].repeat(times)].concat()),
            _ => section(&mut module, id, content),
        }
    }
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut component, 1, &module);
    component
}

fn section(out: &mut Vec<u8>, id: u8, content: &[u8]) {
    out.push(id);
    out.extend(number(content.len()));
    out.extend_from_slice(content);
}

fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn a_component_that_takes_minutes_to_compile() {
    let bomb = bomb(200, 2000);
    let wall = Duration::from_secs(2);
    // The same child, input and limits as for a plugin, but for the time, which is 120 s there.
    let compiled = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(within(Duration::from_secs(20), async {
            strongroom_process::tool::compile_child(PROGRAM.into(), vec![Compiler::ARGUMENT.into()], &bomb, wall)
        }));
    let failure = compiled.expect_err("it takes longer");
    assert_eq!((failure.kind(), failure.code()), (Kind::Deadline, "tool.deadline"), "{failure}");
}

#[test]
fn a_component_that_is_no_code_at_all() {
    for garbage in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\xff\xff\xff\xff\x0f", &[0xff; 4096]] {
        let compiled = strongroom_process::tool::compile_child(
            PROGRAM.into(),
            vec![Compiler::ARGUMENT.into()],
            garbage,
            Duration::from_secs(20),
        );
        assert!(compiled.is_err_and(|failure| failure.kind() == Kind::LimitExceeded));
    }
}

#[test]
fn a_component_of_components_without_end() {
    let home = Home::new();
    let mut nested = String::from("(component)");
    for _ in 0..2000 {
        nested = format!("(component {nested})");
    }
    // The text format has limits of its own; what is nested that deep is written by hand.
    let Ok(wasm) = wat::parse_str(&nested) else { return };
    home.write("plugin.wasm", wasm);
    for command in [&["plugin", "inspect", "plugin.wasm"][..], &["plugin", "add", "--yes", "plugin.wasm"]] {
        let done = home.strongroom(command).done();
        assert!((1..=100).contains(&done.status) || command[1] == "inspect", "{}: {}", done.status, done.err());
    }
    assert!(!home.user_config().exists());
}
