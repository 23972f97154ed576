//! What may stand in a process's environment: names, the names that are dangerous, and values.
//!
//! Pure rules. This module must never read or change an environment, and no failure of it shows a
//! value; [`check_name`] does not even show the name, because what a broken file has in a name's
//! place may be a piece of somebody's secret.

use crate::{Failure, Kind};

/// The most bytes of `NAME=value`, without the NUL that ends it: 131,071.
///
/// Linux refuses to start a program with a longer string (`MAX_ARG_STRLEN`, 32 pages of 4 KiB, the
/// NUL included; execve(2)). Where pages are larger more would fit, but a file must not work on one
/// machine and fail on the next.
pub const MAX_STRING_BYTES: usize = 32 * 4096 - 1;

/// Names that change which code a program loads or runs, or whom it connects to and trusts.
///
/// This and [`DANGEROUS_PREFIXES`] and `_PROXY` (see [`is_dangerous`]) are the one exact list; whoever
/// writes a deployment file must not be able to run code in, or listen to, a program that somebody
/// else starts with it. Sorted, for reading and for the search.
const DANGEROUS: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "CLASSPATH",
    "COR_PROFILER",
    "CURL_CA_BUNDLE",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GIT_ASKPASS",
    "GIT_EXEC_PATH",
    "GIT_PROXY_COMMAND",
    "GLIBC_TUNABLES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PATH",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "REQUESTS_CA_BUNDLE",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Families of such names, by how they begin. `STRONGROOM_` because the child may call Strongroom.
const DANGEROUS_PREFIXES: &[&str] = &["CORECLR_", "DYLD_", "GIT_CONFIG", "GIT_SSH", "LD_", "SSL_CERT_", "STRONGROOM_"];

/// Whether `name` changes how programs load or connect, so that a FILE may set it only with
/// `--allow-name`.
///
/// Names are compared as they are, as programs do; `*_PROXY` also in lower and mixed case, because
/// `http_proxy` is the form that most programs read.
pub fn is_dangerous(name: &str) -> bool {
    const PROXY: &[u8] = b"_PROXY";
    let proxy = name.as_bytes().last_chunk::<{ PROXY.len() }>().is_some_and(|end| end.eq_ignore_ascii_case(PROXY));
    proxy || DANGEROUS.binary_search(&name).is_ok() || DANGEROUS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether `name` matches `[A-Za-z_][A-Za-z0-9_.-]*`.
///
/// POSIX promises only `[A-Za-z_][A-Za-z0-9_]*` to shells; dots and dashes are used by some
/// programs (.NET, Spring, Azure's own settings) and pass through `execve` as they are.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Whether `name` is one that a POSIX shell can export: `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_shell_name(name: &str) -> bool {
    is_name(name) && !name.contains(['.', '-'])
}

/// Refuses what is no name ([`is_name`]).
///
/// # Errors
/// `environment.name`, without the name: the caller adds it where it surely is one.
pub fn check_name(name: &str) -> Result<(), Failure> {
    if is_name(name) {
        return Ok(());
    }
    let failure = Failure::new(Kind::InvalidConfig, "environment.name", "this is no name of an environment variable");
    Err(failure.help("a name is made of A-Z, a-z, 0-9, _, . and -, and begins with a letter or _"))
}

/// Refuses a value that no variable can hold. Bytes that are not UTF-8 can be held.
///
/// # Errors
/// `environment.nul` for a NUL byte, `environment.too-large` where `NAME=value` has more than
/// [`MAX_STRING_BYTES`]. Neither says anything of the value but its size.
pub fn check_value(name: &str, value: &[u8]) -> Result<(), Failure> {
    check_nul(name, value)?;
    let room = MAX_STRING_BYTES.saturating_sub(name.len() + 1);
    if value.len() <= room {
        return Ok(());
    }
    let message =
        format!("{name}: the value has {} bytes, and a variable of this name holds at most {room}", value.len());
    Err(Failure::new(Kind::LimitExceeded, "environment.too-large", message).help(AS_FILE))
}

/// The half of [`check_value`] that also holds for files that set variables.
pub(crate) fn check_nul(name: &str, value: &[u8]) -> Result<(), Failure> {
    if memchr::memchr(0, value).is_none() {
        return Ok(());
    }
    let message = format!("{name}: the value holds a NUL byte, which no environment variable can");
    Err(Failure::new(Kind::Unsupported, "environment.nul", message).help(AS_FILE))
}

const AS_FILE: &str = "hand it over as a file: strongroom run --as-file NAME=REF -- CMD";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_load_code_or_redirect_connections_are_dangerous() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "BASH_ENV",
            "ENV",
            "IFS",
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONINSPECT",
            "NODE_OPTIONS",
            "PERL5LIB",
            "PERL5OPT",
            "RUBYLIB",
            "RUBYOPT",
            "JAVA_TOOL_OPTIONS",
            "GIT_SSH",
            "GIT_SSH_COMMAND",
            "GIT_EXEC_PATH",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "Http_Proxy",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "STRONGROOM_CONFIG",
            "_JAVA_OPTIONS",
            "REQUESTS_CA_BUNDLE",
            "GIT_CONFIG_COUNT",
        ] {
            assert!(is_dangerous(name), "{name}");
        }
        for name in ["DB_URL", "PATHS", "MY_PATH", "ENVIRONMENT", "LDAP_URL", "PROXY", "PROXY_URL", "Path", "é_PROXX"]
        {
            assert!(!is_dangerous(name), "{name}");
        }
    }

    #[test]
    fn the_list_is_sorted_or_the_search_would_miss() {
        assert!(DANGEROUS.is_sorted());
    }

    #[test]
    fn only_the_pattern_is_a_name() {
        for good in ["A", "_", "a1", "Logging.Level", "app-name", "A__B"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1A", "-A", ".A", "A B", "A=B", "A\0", "Ä", "A\n", "${{env:A}}", "BASH_FUNC_x%%"] {
            let failure = check_name(bad).unwrap_err();
            assert_eq!(failure.code(), "environment.name", "{bad:?}");
            assert!(bad.len() < 3 || !failure.message().as_str().contains(bad));
        }
    }

    #[test]
    fn values_fit_what_the_kernel_takes_to_the_byte() {
        let fits = vec![b'x'; 131_072 - "NAME=".len() - 1];
        assert!(check_value("NAME", &fits).is_ok());
        let failure = check_value("NAME", &[fits, vec![b'x']].concat()).unwrap_err();
        assert_eq!((failure.kind(), failure.code()), (Kind::LimitExceeded, "environment.too-large"));
        let failure = check_value("NAME", b"hunter2\0").unwrap_err();
        assert_eq!(failure.code(), "environment.nul");
        assert!(!format!("{failure:?}").contains("hunter2"));
        assert!(check_value("NAME", b"\xff\xfe").is_ok(), "a variable holds any other bytes");
    }
}
