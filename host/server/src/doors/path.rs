//! The path of a request's target, read once and strictly.

use strongroom::{Failure, Kind};

/// The parts of a path, each percent-decoded once; a slash at the end counts for nothing.
///
/// # Errors
/// `request.path`: for an empty part, `.` and `..`, escapes that are none or no UTF-8, and for slashes, backslashes and
/// control characters that were escaped. Such a path could be taken for another one.
pub(crate) fn parts(path: &str) -> Result<Vec<String>, Failure> {
    let wrong = || Failure::new(Kind::InvalidReference, "request.path", "the path has a part that could mean another");
    let path = path.strip_prefix('/').ok_or_else(wrong)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').map(|part| decoded(part).ok_or_else(wrong)).collect()
}

fn decoded(part: &str) -> Option<String> {
    let escapes = part.bytes().filter(|byte| *byte == b'%').count();
    let good = part.split('%').skip(1).filter(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if good.count() != escapes {
        return None;
    }
    let text = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
    let strange = |c: char| c == '/' || c == '\\' || c.is_control();
    (!matches!(&*text, "" | "." | "..") && !text.contains(strange)).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_in_one_way_or_not_at_all() {
        for (path, read) in [
            ("/secrets", vec!["secrets"]),
            ("/secrets/", vec!["secrets"]),
            ("/a%20b/%25c/%C3%A9", vec!["a b", "%c", "é"]),
            ("/secrets:getbatch", vec!["secrets:getbatch"]),
        ] {
            assert_eq!(parts(path).unwrap(), read, "{path}");
        }
        for bad in [
            "",
            "/",
            "//",
            "a",
            "/a//b",
            "/a//",
            "/./a",
            "/a/..",
            "/a/%2e%2E",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00b",
            "/a%0a",
            "/a%C2%85",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%+1",
            "/%ff",
            "/%c0%af",
            "/%e0%80%af",
        ] {
            assert_eq!(parts(bad).unwrap_err().code(), "request.path", "{bad}");
        }
    }
}
