//! What may be shown of somebody else's words.

/// The longest text that is shown, in characters.
const MAX_CHARS: usize = 300;

/// From this many characters on, a word may be a secret, a code or a token. The shortest that Entra
/// makes (client secrets) have 40, and old ones 32.
const SECRET_CHARS: usize = 30;

/// A text of Entra, of an identity endpoint or of a tool, fit for a failure: one line, without
/// anything that could be a secret, and without the ids at the end of Entra's texts, which are
/// attributes of the failure.
///
/// A word that is long enough to be a secret is replaced, unless it is an id (8-4-4-4-12 hexadecimal
/// digits) or an address without a query.
#[must_use]
pub fn shown(text: &str) -> String {
    let text = text.split_once(" Trace ID:").map_or(text, |(said, _)| said);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        push(word, &mut line);
    }
    match line.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}

/// Adds a word, with each piece of it that may be a secret replaced.
fn push(word: &str, line: &mut String) {
    if is_address(word) {
        line.push_str(word);
        return;
    }
    let in_secret = |c: char| c.is_alphanumeric() || "-_.~+/=!$%&*^#@:".contains(c);
    let mut rest = word;
    while !rest.is_empty() {
        let piece_end = rest.find(|c: char| !in_secret(c)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at_checked(piece_end).unwrap_or((rest, ""));
        if piece.chars().count() >= SECRET_CHARS && !is_id(piece.trim_end_matches(['.', ':'])) && !is_address(piece) {
            line.push_str("[redacted]");
        } else {
            line.push_str(piece);
        }
        let mut others = after.char_indices();
        let separator = others.next().map(|(_, separator)| separator);
        line.extend(separator);
        rest = others.as_str();
    }
}

/// `https://host/path` of lower-case words that are each too short for a secret.
fn is_address(word: &str) -> bool {
    let word = word.trim_end_matches(['.', ',', '\'', '"', ')']).trim_start_matches(['\'', '"', '(']);
    let Some(rest) = word.strip_prefix("https://").or_else(|| word.strip_prefix("http://")) else { return false };
    !rest.contains(['?', '#', '@', '%', '=']) && rest.split('/').all(|part| part.len() < SECRET_CHARS || is_host(part))
}

fn is_host(part: &str) -> bool {
    part.split('.').all(|label| {
        label.len() < SECRET_CHARS && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

/// Whether `text` has the form of an id (RFC 9562): 8-4-4-4-12 hexadecimal digits.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let mut groups = text.split('-');
    let fits = [8, 4, 4, 4, 12].iter().all(|length| {
        groups.next().is_some_and(|group| group.len() == *length && group.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    fits && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_ids_and_addresses_stay() {
        let text = "AADSTS700016: Application with identifier '04b07795-8ddb-461a-bbee-02f9e1bf7b46' was not found in the \
                    directory 'Contoso'.\r\nSee https://learn.microsoft.com/entra/identity. Trace ID: 1 Correlation ID: 2";
        assert_eq!(
            shown(text),
            "AADSTS700016: Application with identifier '04b07795-8ddb-461a-bbee-02f9e1bf7b46' was not found in the directory \
             'Contoso'. See https://learn.microsoft.com/entra/identity."
        );
        assert_eq!(shown("consent (https://management.azure.com/)."), "consent (https://management.azure.com/).");
    }

    #[test]
    fn what_may_be_a_secret_does_not() {
        for secret in [
            "Abc8Q~0123456789abcdefghijklmnopqrstuvwx",
            "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL3YifQ.c2lnbmF0dXJl",
            "0.AXoAcGFzc3dvcmRwYXNzd29yZHBhc3N3b3Jk",
            "b3BhcXVlLWRldmljZS1jb2RlLWZyb20tZW50cmE=",
        ] {
            for text in [
                format!("the value {secret} is wrong"),
                format!("value='{secret}'"),
                format!("\"{secret}\","),
                format!("https://login.example/?code={secret}"),
                format!("https://login.example/{secret}"),
                format!("{{\"accessToken\":\"{secret}\"}}"),
            ] {
                let shown = shown(&text);
                assert!(!shown.contains(secret) && shown.contains("[redacted]"), "{text} -> {shown}");
            }
        }
    }

    #[test]
    fn it_is_one_short_line() {
        assert_eq!(shown("a\nb\t\u{1b}[31mc  d"), "a b [31mc d");
        assert_eq!(shown(&"word ".repeat(100)).chars().count(), MAX_CHARS + 3);
        assert_eq!(shown(&"\u{e4}\u{f6} ".repeat(300)).chars().count(), MAX_CHARS + 3);
        assert_eq!(shown(""), "");
    }

    #[test]
    fn ids_have_their_form() {
        assert!(is_id("04b07795-8ddb-461a-bbee-02f9e1bf7b46"));
        for text in ["", "04b07795-8ddb-461a-bbee-02f9e1bf7b4", "04b07795-8ddb-461a-bbee-02f9e1bf7b46-", "x"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
