//! Ahead-of-time code: compiling it, keeping it, and the one place that loads it.
//!
//! Loading runs machine code, so only two kinds of bytes may come here: those that are part of this
//! very binary, and those that this installation compiled, from exactly the digest that the lock
//! names. The second kind is proven by a MAC (keyed BLAKE3) whose key lies in the state folder, not
//! in the cache, over the format, the component's digest, the engine's compatibility hash, the build
//! and the bytes. Whoever can write the cache folder can make it miss, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use strongroom_core::{Failure, Kind, Text};
use wasmtime::component::Component;
use zeroize::Zeroizing;

use crate::engine::Runtime;

/// Code that may be loaded. There is no way to make one from bytes of unknown origin.
pub struct Code(Origin);

enum Origin {
    Embedded(&'static [u8]),
    Compiled(Vec<u8>),
    /// Checked, and too large to copy: mapped from the open file.
    Checked(File),
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Origin::Embedded(_) => "Code(embedded)",
            Origin::Compiled(_) => "Code(compiled)",
            Origin::Checked(_) => "Code(checked)",
        })
    }
}

impl Code {
    /// Code that the build put into this binary with `include_bytes!`. Give it nothing else.
    pub fn embedded(bytes: &'static [u8]) -> Self {
        Self(Origin::Embedded(bytes))
    }

    /// Code that this process's own compiler just made: [`Runtime::compile`], here or in the
    /// compile child that this process started. Give it nothing else.
    pub fn compiled(bytes: Vec<u8>) -> Self {
        Self(Origin::Compiled(bytes))
    }
}

/// Loads code. The only `unsafe` of this crate.
#[allow(unsafe_code, reason = "wasmtime cannot prove that machine code came from its own compiler; `Code` does")]
pub(crate) fn load(runtime: &Runtime, code: &Code) -> Result<Component, Failure> {
    let loaded = match &code.0 {
        // SAFETY: the bytes are part of this binary, put there by its build from the output of
        // wasmtime's compiler of this very version; wasmtime checks version and settings itself.
        Origin::Embedded(bytes) => unsafe { Component::deserialize(&runtime.engine, bytes) },
        // SAFETY: the bytes were compiled by this installation, as `Code::compiled` and
        // `Cache::find` (which checked the MAC over exactly this buffer) promise.
        Origin::Compiled(bytes) => unsafe { Component::deserialize(&runtime.engine, bytes) },
        // SAFETY: `Cache::find` checked the MAC over this open file, which is ours, read-only and
        // has no other name; it is reached by descriptor, so no other file can take its place.
        Origin::Checked(file) => unsafe { Component::deserialize_file(&runtime.engine, descriptor_path(file)) },
    };
    loaded.map_err(|error| {
        // A pool refuses at once what could never fit into a slot. Wasmtime has no type for that;
        // the tests hold the words.
        if format!("{error:#}").contains("pooling allocator") {
            return Failure::new(
                Kind::LimitExceeded,
                "plugin.too-large",
                "the component needs more memory, tables or instances than a sandbox here may have",
            )
            .help("a long-lived host gives each call a slot of fixed size; `strongroom run` and `get` do not");
        }
        Failure::new(Kind::Integrity, "aot.mismatch", "the compiled code is not for this build of Strongroom")
            .help("remove the cache folder; the plugins are compiled again at their next use")
    })
}

fn descriptor_path(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    Path::new(folder).join(file.as_raw_fd().to_string())
}

impl Runtime {
    /// Compiles a component. Takes 16 to 60 ms for a small Rust guest and several seconds for a
    /// language runtime; hostile input may take much longer, so run it in a limited child process.
    ///
    /// # Errors
    /// `invalid-config` if the bytes are no component this engine accepts.
    pub fn compile(&self, component: &[u8]) -> Result<Vec<u8>, Failure> {
        self.engine.precompile_component(component).map_err(|error| {
            Failure::new(
                Kind::InvalidConfig,
                "plugin.not-a-component",
                format!("this is no WebAssembly component that can be run here: {}", error.root_cause()),
            )
            .help(
                "strongroom plugin build makes a component from source; strongroom plugin inspect says what a file is",
            )
        })
    }

    /// What compiled code must have in common with this engine to be loaded.
    pub fn compatibility(&self) -> [u8; 32] {
        *self.compatibility.get_or_init(|| self.hash_compatibility())
    }

    fn hash_compatibility(&self) -> [u8; 32] {
        struct Blake(blake3::Hasher);
        impl Hasher for Blake {
            fn finish(&self) -> u64 {
                0
            }
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
        }
        let mut hasher = Blake(blake3::Hasher::new());
        hasher.0.update(BUILD.as_bytes());
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        *hasher.0.finalize().as_bytes()
    }
}

const BUILD: &str = concat!("strongroom ", env!("CARGO_PKG_VERSION"), " ", env!("STRONGROOM_TARGET"));

/// Version of the seal's layout; part of what the MAC covers.
const MAGIC: &[u8; 8] = b"SRAOT\0\0\x01";
const SEAL_FIXED: usize = 8 + 32 + 32 + 8 + 8;
const MAC_BYTES: usize = 32;
/// The largest notes: a manifest (64 KiB) and the lists beside it.
const MAX_NOTES: usize = 1 << 20;
/// Below this, code is read into one buffer, checked and loaded from it; above, a copy of tens of
/// MiB would cost more than the mapping.
const SMALL: u64 = 4 << 20;

/// The folder of compiled code, and the key that proves it ours.
pub struct Cache {
    folder: PathBuf,
    key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Code from the cache, and what was noted beside it.
#[derive(Debug)]
pub struct Entry {
    /// The checked code.
    pub code: Code,
    /// What [`Cache::insert`] was given: under the MAC as well.
    pub notes: Vec<u8>,
}

impl Cache {
    /// Opens the cache in `folder` with the key in `key_file`; makes both if they are not there.
    ///
    /// # Errors
    /// `internal` if they cannot be made; `integrity` if somebody else could write them.
    pub fn open(folder: &Path, key_file: &Path) -> Result<Self, Failure> {
        make_private_folder(folder)?;
        if let Some(parent) = key_file.parent() {
            make_private_folder(parent)?;
        }
        let key = match read_key(key_file)? {
            Some(key) => key,
            None => create_key(key_file)?,
        };
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was noted beside the code of `digest`, without reading the code. `None` if it was never
    /// compiled here.
    ///
    /// # Errors
    /// As [`Cache::find`].
    pub fn notes(&self, runtime: &Runtime, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, Failure> {
        let (_, seal_path) = self.paths(runtime, digest);
        Ok(self.read_seal(runtime, digest, &seal_path)?.map(|seal| seal.notes))
    }

    /// The code of the component `digest`, for this engine. `None` if it was never compiled here.
    ///
    /// # Errors
    /// `integrity` with code `aot.corrupt` if what lies there is not what was put there. The caller
    /// may compile again, and says so.
    pub fn find(&self, runtime: &Runtime, digest: &[u8; 32]) -> Result<Option<Entry>, Failure> {
        let (code_path, seal_path) = self.paths(runtime, digest);
        let Some(seal) = self.read_seal(runtime, digest, &seal_path)? else { return Ok(None) };
        let mut file = match open(&code_path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(corrupt(&code_path)),
        };
        let metadata = file.metadata().map_err(|_| corrupt(&code_path))?;
        // No name at all is well: another process replaced the file while it was open here.
        if !metadata.is_file() || metadata.nlink() > 1 || metadata.mode() & 0o022 != 0 || !is_ours(metadata.uid()) {
            return Err(corrupt(&code_path));
        }
        let length = metadata.len();
        if seal.code_bytes != length {
            return Err(corrupt(&code_path));
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&seal.covered);
        let origin = if length <= SMALL {
            let mut code = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.read_to_end(&mut code).map_err(|_| corrupt(&code_path))?;
            hasher.update(&code);
            Origin::Compiled(code)
        } else {
            hasher.update_reader(&mut file).map_err(|_| corrupt(&code_path))?;
            file.seek(SeekFrom::Start(0)).map_err(|_| corrupt(&code_path))?;
            Origin::Checked(file)
        };
        // `blake3::Hash` compares in constant time.
        if hasher.finalize() != blake3::Hash::from_bytes(seal.mac) {
            return Err(corrupt(&code_path));
        }
        Ok(Some(Entry { code: Code(origin), notes: seal.notes }))
    }

    /// Keeps `code`, compiled from the component `digest`, with `notes` beside it.
    ///
    /// # Errors
    /// `internal` if it cannot be written. Nothing is half-written: the seal comes last.
    pub fn insert(&self, runtime: &Runtime, digest: &[u8; 32], notes: &[u8], code: &[u8]) -> Result<(), Failure> {
        if notes.len() > MAX_NOTES {
            return Err(Failure::new(Kind::LimitExceeded, "aot.notes", "the plugin's manifest is too large"));
        }
        let (code_path, seal_path) = self.paths(runtime, digest);
        let mut seal = seal_of(runtime, digest, code.len() as u64, notes);
        let mac_of_notes = blake3::keyed_hash(&self.key, &seal);
        seal.extend_from_slice(mac_of_notes.as_bytes());
        let mac = blake3::Hasher::new_keyed(&self.key).update(&seal).update(code).finalize();
        seal.extend_from_slice(mac.as_bytes());
        // In this order, a crash in between leaves a code file without a fitting seal: a miss.
        remove_if_there(&seal_path)?;
        replace(&code_path, code)?;
        replace(&seal_path, &seal)
    }

    /// Removes the entry of `digest`, if there is one.
    ///
    /// # Errors
    /// `internal` if it cannot be removed.
    pub fn remove(&self, runtime: &Runtime, digest: &[u8; 32]) -> Result<(), Failure> {
        let (code_path, seal_path) = self.paths(runtime, digest);
        remove_if_there(&seal_path)?;
        remove_if_there(&code_path)
    }

    fn paths(&self, runtime: &Runtime, digest: &[u8; 32]) -> (PathBuf, PathBuf) {
        let engine = hex(runtime.compatibility().get(..8).unwrap_or_default());
        let stem = format!("{}-{engine}", hex(digest));
        (self.folder.join(format!("{stem}.code")), self.folder.join(format!("{stem}.seal")))
    }

    fn read_seal(&self, runtime: &Runtime, digest: &[u8; 32], path: &Path) -> Result<Option<Seal>, Failure> {
        let Some(bytes) = read_if_there(path, MAX_NOTES + SEAL_FIXED + 2 * MAC_BYTES)? else { return Ok(None) };
        let parts = || {
            let (covered, mac) = bytes.split_last_chunk::<MAC_BYTES>()?;
            let (noted, mac_of_notes) = covered.split_last_chunk::<MAC_BYTES>()?;
            let code_bytes = noted.get(8 + 32 + 32..)?.first_chunk::<8>()?;
            Some((covered, *mac, noted, *mac_of_notes, u64::from_le_bytes(*code_bytes), noted.get(SEAL_FIXED..)?))
        };
        let (covered, mac, noted, mac_of_notes, code_bytes, notes) = parts().ok_or_else(|| corrupt(path))?;
        // `blake3::Hash` compares in constant time.
        let proven = blake3::keyed_hash(&self.key, noted) == blake3::Hash::from_bytes(mac_of_notes);
        if !proven || noted != seal_of(runtime, digest, code_bytes, notes) {
            return Err(corrupt(path));
        }
        Ok(Some(Seal { covered: covered.to_vec(), mac, code_bytes, notes: notes.to_vec() }))
    }
}

/// A seal whose notes are proven; its code is not, yet.
struct Seal {
    covered: Vec<u8>,
    mac: [u8; MAC_BYTES],
    code_bytes: u64,
    notes: Vec<u8>,
}

/// What the MAC over the notes covers; the other covers this, that MAC and the code.
fn seal_of(runtime: &Runtime, digest: &[u8; 32], code_bytes: u64, notes: &[u8]) -> Vec<u8> {
    let mut seal = Vec::with_capacity(SEAL_FIXED + notes.len() + 2 * MAC_BYTES);
    seal.extend_from_slice(MAGIC);
    seal.extend_from_slice(digest);
    seal.extend_from_slice(&runtime.compatibility());
    seal.extend_from_slice(&code_bytes.to_le_bytes());
    seal.extend_from_slice(&(notes.len() as u64).to_le_bytes());
    seal.extend_from_slice(notes);
    seal
}

/// Opens what lies at `path` itself, never what a link there points to, and never waits: a FIFO put
/// in the file's place would hang whoever opens it.
fn open(path: &Path) -> std::io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn corrupt(path: &Path) -> Failure {
    Failure::new(
        Kind::Integrity,
        "aot.corrupt",
        format!("compiled code in the cache is not what was put there: {}", path.display()),
    )
    .help("it is not used; remove the file if the plugin is not compiled again by itself")
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Kind::Internal,
        "aot.io",
        format!("cannot {what} {}: {}", path.display(), Text::new(error.to_string())),
    )
}

fn make_private_folder(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| cannot("make the folder", folder, &e))?;
    let metadata = fs::metadata(folder).map_err(|e| cannot("read the folder", folder, &e))?;
    if metadata.mode() & 0o022 != 0 || !is_ours(metadata.uid()) {
        return Err(Failure::new(
            Kind::Integrity,
            "state.permissions",
            format!("others can write to {}", folder.display()),
        )
        .help(format!("make it yours alone: chmod go-w {}", folder.display())));
    }
    Ok(())
}

fn read_if_there(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(corrupt(path));
        }
        Err(error) => return Err(cannot("open", path, &error)),
    };
    let metadata = file.metadata().map_err(|e| cannot("read", path, &e))?;
    if !metadata.is_file() {
        return Err(corrupt(path));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|e| cannot("read", path, &e))?;
    if bytes.len() > limit { Err(corrupt(path)) } else { Ok(Some(bytes)) }
}

fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("remove", path, &error)),
    }
}

/// Writes a 0400 file under a temporary name and renames it over `path`.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let nonce = getrandom::u64()
        .map_err(|_| Failure::new(Kind::Internal, "system.random", "the system has no randomness to give"))?;
    let temporary = path.with_extension(format!("{nonce:016x}.tmp"));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        cannot("write", path, &error)
    })
}

fn read_key(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, Failure> {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("open", path, &error)),
    };
    let metadata = file.metadata().map_err(|e| cannot("read", path, &e))?;
    if metadata.mode() & 0o077 != 0 || !is_ours(metadata.uid()) {
        return Err(Failure::new(
            Kind::Integrity,
            "aot.key-permissions",
            format!("others can read {}", path.display()),
        )
        .help(format!("remove it: rm {}; a new key is made, and plugins are compiled again", path.display())));
    }
    let mut key = Zeroizing::new([0; 32]);
    let mut extra = [0; 1];
    let whole = file.read_exact(&mut *key).is_ok() && matches!(file.read(&mut extra), Ok(0));
    if whole { Ok(Some(key)) } else { Err(corrupt(path)) }
}

/// Makes the key; where several processes try at once, all use the one that was first.
fn create_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key)
        .map_err(|_| Failure::new(Kind::Internal, "system.random", "the system has no randomness to give"))?;
    let nonce = getrandom::u64().unwrap_or_default();
    let temporary = path.with_extension(format!("{nonce:016x}.tmp"));
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(&*key))
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    match made {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or_else(|| cannot("read", path, &error))
        }
        Err(error) => Err(cannot("write", path, &error)),
    }
}
