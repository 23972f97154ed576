//! Patterns: a match is what trying all ways finds, and what two patterns share is found by their overlap.
//!
//! Input: lines. Each of the first two is a pattern, all that follow are texts.

use strongroom_core::policy::SubjectPattern;
use strongroom_core::{HostPattern, Pattern};

/// More is only slower.
const MOST: usize = 40;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n').map(|line| line.get(..MOST).unwrap_or(line)).filter(|line| line.len() <= MOST);
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    let texts: Vec<&str> = lines.take(8).collect();
    paths(first, second, &texts);
    subjects(first, &texts);
    hosts(first, second, &texts);
}

/// Whether `text` fits, by trying all ways. `**` is `\u{0}` here.
fn naive(pattern: &[char], text: &[char], stops: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((star @ ('*' | '\0'), rest)) => {
            let crossed = |c: &char| *star == '*' && stops.contains(c);
            let reach = text.iter().position(crossed).unwrap_or(text.len());
            (0..=reach).any(|at| naive(rest, &text[at..], stops))
        }
        Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..], stops),
    }
}

fn chars(pattern: &str) -> Vec<char> {
    pattern.replace("**", "\0").chars().collect()
}

/// All ways are too many where there are many stars.
fn is_tame(pattern: &str) -> bool {
    pattern.matches('*').count() <= 6
}

fn paths(first: &str, second: &str, texts: &[&str]) {
    let Ok(a) = Pattern::parse(first) else { return };
    assert_eq!(a.as_str(), first);
    assert_eq!(Pattern::parse(a.as_str()).as_ref(), Ok(&a));
    let b = Pattern::parse(second).ok();
    if let Some(b) = &b {
        assert_eq!(a.overlaps(b), b.overlaps(&a), "{first:?} and {second:?}");
    }
    assert!(a.overlaps(&a), "{first:?} and itself");
    for text in texts {
        let fits = a.matches(text);
        if is_tame(first) {
            let whole: Vec<char> = text.chars().collect();
            assert_eq!(fits, naive(&chars(first), &whole, &['/']), "{first:?} on {text:?}");
        }
        if !fits {
            continue;
        }
        if let Some(b) = b.as_ref().filter(|b| b.matches(text)) {
            assert!(a.overlaps(b), "{first:?} and {second:?} share {text:?}");
        }
        for (at, _) in text.match_indices('/') {
            if text.len() > at + 1 {
                let above = &text[..at];
                assert!(above.is_empty() || a.could_match_below(above), "{first:?} fits {text:?} below {above:?}");
                let both = b.as_ref().filter(|b| !above.is_empty() && b.matches(text));
                assert!(both.is_none_or(|b| a.overlaps_below(b, above)), "{first:?}, {second:?} below {above:?}");
            }
        }
    }
}

fn subjects(first: &str, texts: &[&str]) {
    let Ok(pattern) = SubjectPattern::parse(first) else { return };
    assert_eq!(pattern.as_str(), first);
    for text in texts {
        let fits = pattern.matches(text);
        if is_tame(first) {
            let whole: Vec<char> = text.chars().collect();
            assert_eq!(fits, naive(&first.chars().collect::<Vec<_>>(), &whole, &[':', '/']), "{first:?} on {text:?}");
        }
        let parts = |text: &str| text.matches([':', '/']).count();
        assert!(!fits || parts(text) == parts(first), "{first:?} crosses parts of {text:?}");
        assert!(pattern.is_wild() || fits == (*text == first));
    }
}

fn hosts(first: &str, second: &str, texts: &[&str]) {
    let Ok(a) = HostPattern::parse(first) else { return };
    assert_eq!(HostPattern::parse(a.as_str()).as_ref(), Ok(&a));
    let b = HostPattern::parse(second).ok();
    for text in texts {
        if !a.matches(text) {
            continue;
        }
        assert!(a.is_wild() || *text == a.as_str());
        assert_eq!(text.matches('.').count(), a.as_str().matches('.').count(), "a star is one label");
        assert!(b.as_ref().is_none_or(|b| !b.matches(text) || (a.overlaps(b) && b.overlaps(&a))));
    }
}
