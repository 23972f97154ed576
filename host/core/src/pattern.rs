//! Patterns of the operator: which references, which hosts.
//!
//! A [`Pattern`] is matched against a reference's joined path, a [`HostPattern`] against its
//! authority. Both match the whole text or nothing, and in time bounded by the product of the two
//! lengths: there is no backtracking that a reference could blow up. There are no escapes, classes or
//! alternatives; every character but `*` stands for itself.

use std::fmt;

/// The longest pattern, in bytes.
pub const MAX_BYTES: usize = 512;

/// A pattern over paths: `*` within one segment, `**` across segments, case-sensitive.
///
/// ```
/// use strongroom_core::Pattern;
/// let pattern = Pattern::parse("secrets/app-*")?;
/// assert!(pattern.matches("secrets/app-db"));
/// assert!(!pattern.matches("secrets/app-db/old"));
/// assert!(Pattern::parse("secrets/**")?.matches("secrets/app-db/old"));
/// # Ok::<(), strongroom_core::pattern::InvalidPattern>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Token {
    Char(char),
    /// `*`: any number of characters other than `/`.
    Star,
    /// `**`: any number of characters.
    Deep,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Nothing, or too much.
    #[error("a pattern has 1 to 512 bytes")]
    Length,
    /// Control characters.
    #[error("a pattern holds no control characters")]
    Control,
    /// `***`.
    #[error("a pattern holds `*` (within one segment) and `**` (across segments), not more stars in a row")]
    Stars,
    /// No host.
    #[error("a host pattern is a host name in which a whole label may be `*`, such as *.vault.azure.net")]
    Host,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`]; its message never repeats the text.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err(InvalidPattern::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::Control);
        }
        let mut tokens: Vec<Token> = Vec::with_capacity(text.len());
        for c in text.chars() {
            match (c, tokens.last_mut()) {
                ('*', Some(last @ Token::Star)) => *last = Token::Deep,
                ('*', Some(Token::Deep)) => return Err(InvalidPattern::Stars),
                ('*', _) => tokens.push(Token::Star),
                _ => tokens.push(Token::Char(c)),
            }
        }
        Ok(Self { text: text.into(), tokens: tokens.into() })
    }

    /// Whether the whole of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        walk(&self.tokens, text.chars(), &['/']).last().copied().unwrap_or_default()
    }

    /// Whether some text fits both patterns. Exact, so that overlapping mounts are found when a
    /// config is loaded and not when somebody's reference falls into the overlap.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.meet(other, vec![(0, 0)])
    }

    /// Whether some path below `path` fits: one that begins with it and a slash, and goes on. Below the
    /// empty path is every path. Exact, as [`Pattern::overlaps`].
    ///
    /// ```
    /// use strongroom_core::Pattern;
    /// let pattern = Pattern::parse("team/app-*/key")?;
    /// assert!(pattern.could_match_below("team") && pattern.could_match_below("team/app-1"));
    /// assert!(!pattern.could_match_below("team/web") && !pattern.could_match_below("team/app-1/key"));
    /// # Ok::<(), strongroom_core::pattern::InvalidPattern>(())
    /// ```
    pub fn could_match_below(&self, path: &str) -> bool {
        // Whatever is left of a pattern fits some text; where nothing is left, that text is the empty one.
        self.below(path).iter().any(|at| *at < self.tokens.len())
    }

    /// Whether some path below `path` fits both patterns.
    pub fn overlaps_below(&self, other: &Self, path: &str) -> bool {
        let others = other.below(path);
        // A star that is left may stand for nothing, but then something else is left beside it, or more.
        let more = |a: usize, b: usize| a < self.tokens.len() && b < other.tokens.len();
        let pairs = self.below(path).into_iter().flat_map(|a| others.iter().map(move |b| (a, *b)));
        self.meet(other, pairs.filter(|(a, b)| more(*a, *b)).collect())
    }

    /// How far into the pattern `path` and a slash can have led.
    fn below(&self, path: &str) -> Vec<usize> {
        let slash = (!path.is_empty()).then_some('/');
        let live = walk(&self.tokens, path.chars().chain(slash), &['/']);
        live.iter().enumerate().filter(|(_, live)| **live).map(|(at, _)| at).collect()
    }

    /// Whether some text fits what is left of both at one of these pairs of positions.
    fn meet(&self, other: &Self, mut todo: Vec<(usize, usize)>) -> bool {
        // A walk through the product of both automata: each pair of positions is visited once.
        let width = other.tokens.len() + 1;
        let mut seen = vec![false; (self.tokens.len() + 1) * width];
        while let Some((a, b)) = todo.pop() {
            match seen.get_mut(a * width + b) {
                Some(cell) if !*cell => *cell = true,
                _ => continue,
            }
            match (self.tokens.get(a), other.tokens.get(b)) {
                (None, None) => return true,
                (Some(Token::Char(x)), Some(Token::Char(y))) => {
                    if x == y {
                        todo.push((a + 1, b + 1));
                    }
                }
                (x, y) => {
                    for (star, char, skip, eat) in [(x, y, (a + 1, b), (a, b + 1)), (y, x, (a, b + 1), (a + 1, b))] {
                        match (star, char) {
                            (Some(Token::Star), Some(Token::Char(c))) if *c != '/' => todo.extend([skip, eat]),
                            (Some(Token::Deep), Some(Token::Char(_))) => todo.extend([skip, eat]),
                            (Some(Token::Star | Token::Deep), _) => todo.push(skip),
                            _ => {}
                        }
                    }
                }
            }
        }
        false
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A pattern over hosts: `*` is exactly one label. A port must be written to be meant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    text: Box<str>,
}

impl HostPattern {
    /// Reads a host pattern and lower-cases it, as authorities are.
    ///
    /// # Errors
    /// [`InvalidPattern::Host`].
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let lower = text.to_ascii_lowercase();
        let (name, port) = split_port(&lower);
        let label = |l: &str| {
            l == "*"
                || (!l.is_empty()
                    && l.len() <= 63
                    && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'))
        };
        let port_fits = port.is_none_or(|p| {
            p.parse::<u16>().is_ok_and(|n| n != 0) && !p.starts_with('0') && p.bytes().all(|b| b.is_ascii_digit())
        });
        if name.len() > 253 || !name.split('.').all(label) || !port_fits {
            return Err(InvalidPattern::Host);
        }
        Ok(Self { text: lower.into() })
    }

    /// Whether `authority` (lower-cased, with its port if it has one) fits.
    pub fn matches(&self, authority: &str) -> bool {
        self.fits(authority, |p, l| p == "*" && !l.is_empty())
    }

    /// Whether some host fits both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.fits(&other.text, |a, b| a == "*" || b == "*")
    }

    fn fits(&self, other: &str, wild: impl Fn(&str, &str) -> bool) -> bool {
        let (name, port) = split_port(&self.text);
        let (other_name, other_port) = split_port(other);
        let mut labels = name.split('.');
        let mut others = other_name.split('.');
        port == other_port
            && loop {
                match (labels.next(), others.next()) {
                    (None, None) => break true,
                    (Some(a), Some(b)) if a == b || wild(a, b) => {}
                    _ => break false,
                }
            }
    }

    /// Whether it stands for more than one host.
    pub fn is_wild(&self) -> bool {
        self.text.contains('*')
    }

    /// The pattern as written, lower-cased.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    }
}

/// Which positions `text` can have led to: at `i`, the first `i` tokens make it up. A [`Token::Star`] stands for
/// any number of characters but `stops`.
pub(crate) fn walk(tokens: &[Token], text: impl Iterator<Item = char>, stops: &[char]) -> Vec<bool> {
    let mut live = vec![false; tokens.len() + 1];
    if let Some(first) = live.first_mut() {
        *first = true;
    }
    skip_stars(tokens, &mut live);
    let mut next = vec![false; live.len()];
    for c in text {
        next.fill(false);
        for (index, token) in tokens.iter().enumerate() {
            if !live.get(index).copied().unwrap_or_default() {
                continue;
            }
            let target = match token {
                Token::Char(t) if *t == c => index + 1,
                Token::Star if !stops.contains(&c) => index,
                Token::Deep => index,
                _ => continue,
            };
            if let Some(cell) = next.get_mut(target) {
                *cell = true;
            }
        }
        skip_stars(tokens, &mut next);
        std::mem::swap(&mut live, &mut next);
    }
    live
}

/// A star may also stand for nothing.
fn skip_stars(tokens: &[Token], live: &mut [bool]) {
    let mut before = false;
    for (index, cell) in live.iter_mut().enumerate() {
        let star = index > 0 && matches!(tokens.get(index - 1), Some(Token::Star | Token::Deep));
        *cell |= before && star;
        before = *cell;
    }
}

macro_rules! plain_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

plain_text!(Pattern);
plain_text!(HostPattern);

pub(crate) use plain_text;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn stars_mean_what_they_say() {
        let table = [
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("a", "", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*", "a/b", false),
            ("**", "a/b/c", true),
            ("secrets/app-*", "secrets/app-", true),
            ("secrets/app-*", "secrets/app-db", true),
            ("secrets/app-*", "secrets/app-db/x", false),
            ("secrets/app-*", "x/secrets/app-db", false),
            ("*/b", "a/b", true),
            ("*/b", "a/a/b", false),
            ("**/b", "a/a/b", true),
            ("**/b", "b", false),
            ("a/**", "a", false),
            ("a/**/z", "a/b/c/z", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdef", false),
            ("*a", "aaaa", true),
            ("**a*", "b/ac", true),
            ("**a*", "b/a/c", false),
            ("gr*n", "grün", true),
            ("a?[b]{c}", "a?[b]{c}", true),
            ("a?", "ab", false),
        ];
        for (text, path, fits) in table {
            assert_eq!(pattern(text).matches(path), fits, "{text} on {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (bad, why) in [
            ("", InvalidPattern::Length),
            (&*"a".repeat(MAX_BYTES + 1), InvalidPattern::Length),
            ("a***b", InvalidPattern::Stars),
            ("a\nb", InvalidPattern::Control),
        ] {
            assert_eq!(Pattern::parse(bad), Err(why));
        }
    }

    #[test]
    fn overlap_is_exact() {
        let table = [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "*b", true),
            ("a*", "b*", false),
            ("a/*", "*/b", true),
            ("a/*", "*", false),
            ("a/*", "**", true),
            ("*", "**", true),
            ("*/*", "*", false),
            ("app-*", "app-db-*", true),
            ("app-*/x", "app-*/y", false),
            ("**/x", "a/**", true),
            ("**x", "**y", false),
            ("a*", "a", true),
        ];
        for (a, b, overlaps) in table {
            assert_eq!(pattern(a).overlaps(&pattern(b)), overlaps, "{a} and {b}");
            assert_eq!(pattern(b).overlaps(&pattern(a)), overlaps, "{b} and {a}");
        }
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_the_product() {
        let hostile = pattern(&format!("{}c", "a*".repeat(MAX_BYTES / 2 - 1)));
        // Backtracking would take longer than the age of the universe.
        assert!(!hostile.matches(&format!("{}b", "a".repeat(4096))));
        assert!(!hostile.overlaps(&pattern(&format!("*{}b", "a*".repeat(MAX_BYTES / 2 - 1)))));
    }

    #[test]
    fn a_star_in_a_host_is_one_label() {
        let table = [
            ("*.vault.azure.net", "v.vault.azure.net", true),
            ("*.Vault.azure.net", "v.vault.azure.net", true),
            ("*.vault.azure.net", "vault.azure.net", false),
            ("*.vault.azure.net", "a.b.vault.azure.net", false),
            ("*.vault.azure.net", "v.vault.azure.net.evil.com", false),
            ("*.vault.azure.net", ".vault.azure.net", false),
            ("h", "h:8200", false),
            ("h:8200", "h:8200", true),
            ("h:8200", "h", false),
        ];
        for (text, host, fits) in table {
            assert_eq!(HostPattern::parse(text).unwrap().matches(host), fits, "{text} on {host}");
        }
        for bad in ["", "a*.b", "**.b", "a..b", ".a", "a.", "a/b", "h:", "h:0", "h:+1", "h:65536", "ä.b", "a b", "u@h"]
        {
            assert_eq!(HostPattern::parse(bad), Err(InvalidPattern::Host), "{bad}");
        }
        let overlaps = |a, b| HostPattern::parse(a).unwrap().overlaps(&HostPattern::parse(b).unwrap());
        assert!(overlaps("*.b", "a.b"));
        assert!(overlaps("*.b.*", "a.*.c"));
        assert!(!overlaps("*.b", "a.b.c"));
        assert!(!overlaps("a.b", "a.b:1"));
    }

    proptest::proptest! {
        /// Against the obvious, exponential matcher.
        #[test]
        fn matching_agrees_with_the_definition(text in "[ab/]{0,8}", pat in "[ab/]?(\\*{1,2}[ab/]){0,3}\\*?") {
            if let Ok(pattern) = Pattern::parse(&pat) {
                let text_chars: Vec<char> = text.chars().collect();
                let naive = naive(&pattern.tokens, &text_chars);
                proptest::prop_assert_eq!(pattern.matches(&text), naive);
                proptest::prop_assert!(!naive || text.is_empty() || pattern.overlaps(&Pattern::parse(&text).unwrap()));
            }
        }
    }

    #[test]
    fn below_is_a_matter_of_whole_segments() {
        let table = [
            ("secrets/app-*", "", true),
            ("secrets/app-*", "secrets", true),
            ("secrets/app-*", "secret", false),
            ("secrets/app-*", "secrets/app-", false),
            ("secrets/app-*", "secrets/app-db", false),
            ("secrets/**", "secrets/app-db", true),
            ("**", "", true),
            ("**", "a/b", true),
            ("*", "", true),
            ("*", "a", false),
            ("*/b", "a", true),
            ("*/b", "a/b", false),
            ("a*b/c", "axb", true),
            ("a*b/c", "ax", false),
            ("a/", "a", false),
            ("a/*", "a", true),
            ("**/key", "team", true),
            ("team*", "team", false),
            ("team**", "team", true),
        ];
        for (text, path, fits) in table {
            assert_eq!(pattern(text).could_match_below(path), fits, "{text} below {path}");
        }
        let both = |a: &str, b: &str, path: &str| {
            let (a, b) = (pattern(a), pattern(b));
            assert_eq!(a.overlaps_below(&b, path), b.overlaps_below(&a, path));
            a.overlaps_below(&b, path)
        };
        assert!(both("g/*", "*/a", "g") && both("**", "g/a*", "g") && both("g/*", "g/*", ""));
        assert!(
            !both("g/a*", "g/b*", "g") && !both("g/*", "h/*", "g") && !both("g", "g/*", "g") && !both("g", "**", "g")
        );
    }

    proptest::proptest! {
        /// Against trying every short name below.
        #[test]
        fn below_agrees_with_the_definition(
            path in "([ab]{1,2}(/[ab]{1,2})?)?",
            a in "[ab/]?(\\*{1,2}[ab/]){0,2}\\*?",
            b in "[ab/]?(\\*{1,2}[ab/]){0,2}\\*?",
        ) {
            if let (Ok(a), Ok(b)) = (Pattern::parse(&a), Pattern::parse(&b)) {
                // Each of these patterns has at most seven tokens, so some fitting tail has no more characters.
                let mut tails = vec![String::new()];
                let (mut one, mut two) = (false, false);
                for _ in 0..6 {
                    tails = tails.iter().flat_map(|t| ['a', 'b', '/'].map(|c| format!("{t}{c}"))).collect();
                    for tail in &tails {
                        let name = if path.is_empty() { tail.clone() } else { format!("{path}/{tail}") };
                        one |= a.matches(&name);
                        two |= a.matches(&name) && b.matches(&name);
                    }
                    if two { break; }
                }
                proptest::prop_assert_eq!(a.could_match_below(&path), one);
                proptest::prop_assert_eq!(a.overlaps_below(&b, &path), two);
            }
        }
    }

    fn naive(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, None) => true,
            (None, _) => false,
            (Some((Token::Char(c), rest)), Some((t, more))) => c == t && naive(rest, more),
            (Some((Token::Char(_), _)), None) => false,
            (Some((star, rest)), more) => {
                naive(rest, text)
                    || more.is_some_and(|(t, more)| (*star == Token::Deep || *t != '/') && naive(tokens, more))
            }
        }
    }
}
