//! What a reader of masked output would notice, and the matcher against an Aho-Corasick automaton.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

fn masker_of(values: &[&str]) -> Masker {
    let mut masks = Masks::new();
    for value in values {
        masks.add("V", value.as_bytes());
    }
    assert!(masks.warnings().is_empty());
    masks.build()
}

fn literal<T: AsRef<[u8]>>(forms: &[T]) -> Masker {
    Masker { matcher: Some(Arc::new(Matcher::new(Forms::literal(forms)))) }
}

/// Which bytes of `text` an occurrence covers, by definition.
fn covered<T: AsRef<[u8]>>(forms: &[T], text: &[u8]) -> Vec<bool> {
    let mut covered = vec![false; text.len()];
    for found in AhoCorasick::new(forms.iter().map(AsRef::as_ref)).unwrap().find_overlapping_iter(text) {
        covered[found.range()].fill(true);
    }
    covered
}

/// The masked form of the first `settled` bytes, by definition.
fn expected<T: AsRef<[u8]>>(forms: &[T], text: &[u8], settled: usize) -> Vec<u8> {
    show(&text[..settled], &covered(forms, text))
}

fn show(text: &[u8], hidden: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if !hidden[at] {
            out.push(*byte);
        } else if at == 0 || !hidden[at - 1] {
            out.extend_from_slice(MASK.as_bytes());
        }
    }
    out
}

/// Where the longest end of `text` begins that is a proper beginning of a form, by definition.
fn unsettled<T: AsRef<[u8]>>(forms: &[T], text: &[u8]) -> usize {
    (0..text.len())
        .find(|at| forms.iter().any(|f| f.as_ref().len() > text.len() - at && f.as_ref().starts_with(&text[*at..])))
        .unwrap_or(text.len())
}

/// Feeds `text` in chunks of the given sizes and compares after each.
fn check_stream<T: AsRef<[u8]>>(forms: &[T], text: &[u8], sizes: &[usize]) {
    let mut stream = literal(forms).stream();
    let mut out = Vec::new();
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while at < text.len() {
        let next = text.len().min(at + sizes.next().unwrap());
        stream.push(&text[at..next], &mut out);
        at = next;
        let settled = unsettled(forms, &text[..at]);
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&expected(forms, &text[..at], settled)),
            "after {at} bytes"
        );
        assert_eq!(stream.has_pending(), settled < at);
    }
    stream.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected(forms, text, text.len())));
    assert!(!stream.has_pending());
}

/// Words over few letters, so that forms overlap themselves and each other and begin alike.
fn words(alphabet: &'static str, lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(alphabet.as_bytes()), lengths)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_forms_are_masked_as_defined(
        forms in prop::collection::vec(words("ab", 4..9), 1..6),
        text in words("ab", 0..120),
        sizes in prop::collection::vec(1..12usize, 1..8),
    ) {
        check_stream(&forms, &text, &sizes);
    }

    #[test]
    fn forms_of_all_lengths_are_masked_as_defined(
        forms in prop::collection::vec(words("abc", 4..40), 1..8),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, words("abc", 0..6)), 0..12),
        sizes in prop::collection::vec(1..70usize, 1..8),
    ) {
        // Random text would hold no long form, so the text is made of beginnings and wholes of forms.
        let mut text = Vec::new();
        for (pick, cut, between) in picks {
            let form = pick.get(&forms);
            text.extend_from_slice(&form[..form.len().min(cut)]);
            text.extend_from_slice(&between);
        }
        check_stream(&forms, &text, &sizes);
    }

    /// Enough text for the matcher's fast loops, at each of its steps.
    #[test]
    fn long_texts_are_masked_as_defined(
        forms in (0..5usize).prop_flat_map(|step| {
            let shortest = [4, 8, 9, 11, 15][step];
            prop::collection::vec(words("ab", shortest..shortest + 30), 1..6)
        }),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..40usize, words("abc", 0..30)), 0..100),
        sizes in prop::collection::vec(1..3000usize, 1..4),
    ) {
        let mut text = Vec::new();
        for (pick, cut, between) in picks {
            let form = pick.get(&forms);
            text.extend_from_slice(&form[..form.len().min(cut)]);
            text.extend_from_slice(&between);
        }
        check_stream(&forms, &text, &sizes);
    }

    #[test]
    fn bytes_shown_early_change_nothing_else(
        forms in prop::collection::vec(words("ab", 4..12), 1..4),
        text in words("ab", 0..60),
        sizes in prop::collection::vec(1..6usize, 1..8),
    ) {
        let mut stream = literal(&forms).stream();
        let (mut at, mut sizes, mut out) = (0, sizes.iter().cycle(), Vec::new());
        let mut seen_early = vec![false; text.len()];
        while at < text.len() {
            let next = text.len().min(at + sizes.next().unwrap());
            stream.push(&text[at..next], &mut out);
            stream.show_early(&mut out);
            at = next;
            // At most two bytes, and none of an occurrence that is whole.
            let held = unsettled(&forms, &text[..at]);
            let covered = covered(&forms, &text[..at]);
            (held..at.min(held + 2)).for_each(|early| seen_early[early] |= !covered[early]);
        }
        stream.finish(&mut out);
        let hidden: Vec<_> = covered(&forms, &text).iter().zip(&seen_early).map(|(c, seen)| *c && !seen).collect();
        prop_assert_eq!(out, show(&text, &hidden));
    }

    /// Any value, in any encoding, inside anything, cut anywhere.
    #[test]
    fn every_encoding_is_hidden(
        value in "[ -~é日\u{1F600}\n\t]{4,60}[a-z]{4}",
        before in prop::collection::vec(any::<u8>(), 0..4),
        after in prop::collection::vec(any::<u8>(), 0..4),
        size in 1..50usize,
    ) {
        let masker = masker_of(&[&value]);
        for (written, what) in encodings(&value) {
            assert_hidden(&masker, &written, size, what);
        }
        let inside = [before.as_slice(), value.as_bytes(), &after].concat();
        for written in [STANDARD.encode(&inside), URL_SAFE_NO_PAD.encode(&inside)] {
            let masked = through(&masker, written.as_bytes(), size);
            let (head, tail) = masked.split_once(MASK).expect(&masked);
            // All that stays are the neighbours and the characters they share with the value.
            prop_assert!(head.len() <= (before.len() * 8).div_ceil(6), "{masked}");
            prop_assert!(tail.len() <= (after.len() * 8).div_ceil(6) + 3, "{masked}");
        }
    }
}

fn encodings(value: &str) -> Vec<(String, &'static str)> {
    let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
    let percent = |kept: &str, plus: bool| -> String {
        let one = |b: u8| match b as char {
            c if c.is_ascii_alphanumeric() || kept.contains(c) => c.to_string(),
            ' ' if plus => "+".to_owned(),
            _ => format!("%{b:02X}"),
        };
        value.bytes().map(one).collect()
    };
    let quoted = serde_json::to_string(value).unwrap();
    let json_plain = quoted[1..quoted.len() - 1].to_owned();
    let ascii: String = json_plain
        .chars()
        .map(|c| match c.is_ascii() {
            true => c.to_string(),
            false => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect();
    let go = json_plain.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    vec![
        (value.to_owned(), "plain"),
        (value.replace('\n', "\r\n"), "plain on a terminal"),
        (hex.to_uppercase(), "upper hex"),
        (hex, "hex"),
        (percent("-._~", false), "RFC 3986"),
        (percent("-._~", false).to_lowercase_escapes(), "RFC 3986, lower"),
        (percent("-._~/", false), "Python quote"),
        (percent("-._~!'()*", false), "encodeURIComponent"),
        (percent("-._~", true), "Python quote_plus"),
        (percent("-._*", true), "form"),
        (json_plain.replace('/', "\\/"), "JSON, slashes escaped"),
        (json_plain, "JSON"),
        (ascii.replace('/', "\\/"), "JSON, PHP"),
        (ascii, "JSON, ASCII only"),
        (go, "JSON, Go"),
        (Text::capped(value, usize::MAX).to_string(), "Text"),
    ]
}

trait LowercaseEscapes {
    fn to_lowercase_escapes(&self) -> String;
}

impl LowercaseEscapes for String {
    fn to_lowercase_escapes(&self) -> String {
        let mut out = String::new();
        let mut digits = 0;
        for c in self.chars() {
            out.push(if digits > 0 { c.to_ascii_lowercase() } else { c });
            digits = if c == '%' { 2 } else { usize::saturating_sub(digits, 1) };
        }
        out
    }
}

fn through(masker: &Masker, text: &[u8], size: usize) -> String {
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    for chunk in text.chunks(size) {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    String::from_utf8(out).unwrap()
}

fn assert_hidden(masker: &Masker, written: &str, size: usize, what: &str) {
    let masked = through(masker, format!("\u{1}{written}\u{2}").as_bytes(), size);
    assert_eq!(masked, "\u{1}***\u{2}", "{what}: {written:?}");
}

#[test]
fn overlapping_and_touching_secrets_leave_nothing() {
    let masker = masker_of(&["abcdef", "defghi"]);
    assert_eq!(masker.mask_text("<abcdefghi>"), "<***>");
    assert_eq!(masker.mask_text("<abcdefdefghi>"), "<***>");
    assert_eq!(masker.mask_text("<abcdef defghi abcde efghi>"), "<*** *** abcde efghi>");
    let masker = masker_of(&["abab"]);
    assert_eq!(masker.mask_text("xababab."), "x***.");
    let masker = masker_of(&["inner", "has inner part"]);
    assert_eq!(masker.mask_text("it has inner part, has inner peace"), "it ***, has *** peace");
}

#[test]
fn every_single_split_gives_the_same() {
    let masker = masker_of(&["correct horse", "horse battery"]);
    let text = b"say correct horse battery, correct horsf, aG9yc2UgYmF0dGVyeQ== and correct hors";
    let whole = through(&masker, text, text.len());
    assert!(!whole.contains("battery") && whole.contains("correct horsf") && whole.ends_with("correct hors"));
    for size in 1..text.len() {
        assert_eq!(through(&masker, text, size), whole);
    }
}

#[test]
fn a_prompt_appears_at_once() {
    let masker = masker_of(&["hunter2-hunter2", "Pa55phrase"]);
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    stream.push(b"\x1b[1mproceed? [y/n] ", &mut out);
    assert_eq!(out, b"\x1b[1mproceed? [y/n] ");
    assert!(!stream.has_pending());
    stream.push(b"hun", &mut out);
    assert!(stream.has_pending());
    stream.push(b"d", &mut out);
    assert!(out.ends_with(b" hund") && !stream.has_pending());
}

#[test]
fn echo_on_a_terminal_can_be_shown_and_the_rest_stays_hidden() {
    let masker = masker_of(&["hunter2-hunter2"]);
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    for byte in b"hunter2-hunter2!" {
        stream.push(&[*byte], &mut out);
        stream.show_early(&mut out);
    }
    assert_eq!(out, b"hu***!");
}

#[test]
fn what_is_added_meanwhile_is_hidden_from_then_on_and_what_was_stays_so() {
    let old = masker_of(&["old-secret"]);
    let both = masker_of(&["old-secret", "a-secret-that-is-new"]);
    let mut stream = old.stream();
    let mut out = Vec::new();
    stream.push(b"1 old-sec", &mut out);
    stream.renew(both);
    assert_eq!(out, b"1 ");
    stream.push(b"ret a-secret-that", &mut out);
    stream.push(b"-is-new", &mut out);
    // Nothing to hide is no reason to lose what is held back.
    stream.push(b" old", &mut out);
    stream.renew(Masker::none());
    stream.push(b"-secret", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"1 *** *** ***");
}

#[test]
fn a_secret_longer_than_a_form_is_hidden_whole_and_in_part() {
    let value: String = (0..4000u32).map(|n| char::from(b'!' + (n.wrapping_mul(n) / 7 % 90) as u8)).collect();
    let masker = masker_of(&[&value]);
    assert_eq!(masker.mask_text(&format!("<{value}>")), "<***>");
    assert_eq!(through(&masker, format!("<{value}>{value}").as_bytes(), 7), "<***>***");
    assert_eq!(masker.mask_text(&STANDARD_NO_PAD.encode(&value[..3999])), "***");
    let part = masker.mask_text(&value[..2500]);
    assert!(part.starts_with(MASK) && part.len() < MASK.len() + MAX_FORM_BYTES, "{}", part.len());
}

#[test]
fn base64_that_a_tool_wrapped_is_hidden() {
    let value: String = (0..96u32).map(|n| char::from(b'0' + (n * 7 % 70) as u8)).collect();
    let masker = masker_of(&[&value]);
    for width in [64, 76] {
        let wrapped: Vec<_> = STANDARD.encode(&value).into_bytes().chunks(width).map(<[u8]>::to_vec).collect();
        let masked = masker.mask_text(&String::from_utf8(wrapped.join(&b'\n')).unwrap());
        assert_eq!(masked, "***\n***", "wrapped at {width}");
    }
}

#[test]
fn other_json_writers() {
    let masker = masker_of(&["p+q'<é>&\"`\u{1b}/x"]);
    for written in [
        r#"p\u002Bq\u0027\u003C\u00E9\u003E\u0026\u0022\u0060\u001B/x"#, // .NET
        r#"p+q'\u003cé\u003e\u0026\"`\u001b/x"#,                         // Go
        r#"p+q'<\u00E9>&\"`\u001B/x"#,                                   // Jackson
        r#"p+q'<\u00e9>&\"`\u001b\/x"#,                                  // PHP
    ] {
        assert_eq!(masker.mask_text(written), MASK, "{written}");
    }
}

#[test]
fn lines_of_a_secret_are_secrets() {
    let masker = masker_of(&["-----BEGIN KEY-----\r\n  c2VjcmV0LWxpbmU\r\nabc\nlast line\n\n"]);
    assert_eq!(masker.mask_text("got c2VjcmV0LWxpbmU and last line"), "got *** and ***");
    assert_eq!(masker.mask_text("abc alone stays"), "abc alone stays");
    for whole in [
        "-----BEGIN KEY-----\n  c2VjcmV0LWxpbmU\nabc\nlast line\n",
        "-----BEGIN KEY-----\r\n  c2VjcmV0LWxpbmU\r\nabc\r\nlast line\n",
    ] {
        assert_eq!(masker.mask_text(whole), "***\n");
        assert_eq!(masker.mask_text(whole.trim_end()), "***");
    }
}

#[test]
fn strings_in_json_are_secrets_and_keys_are_not() {
    let inner = r#"{"password":"deep-in-a-string"}"#;
    let json = serde_json::json!({
        "database_host": "db.example.com",
        "list": [{"token": "line one\nline \"two\" é😀"}, 123456789012u64, "short", true],
        "nested": inner,
    });
    for value in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
        let masker = masker_of(&[&value]);
        assert_eq!(masker.mask_text("host db.example.com!"), "host ***!");
        assert_eq!(masker.mask_text("line one\nline \"two\" é😀."), "***.");
        assert_eq!(masker.mask_text("then line \"two\" é😀"), "then ***");
        assert_eq!(masker.mask_text("x deep-in-a-string"), "x ***");
        assert_eq!(masker.mask_text("database_host short 123456789012"), "database_host short 123456789012");
        assert_eq!(masker.mask_text(&value), MASK);
    }
    let masker = masker_of(&[r#"["\ud83d\ude00 \u00e9t\u00c9 \"quo\/ted\"","half \ud83d pair"]"#]);
    assert_eq!(masker.mask_text("😀 étÉ \"quo/ted\""), MASK);
    assert_eq!(masker.mask_text("half \u{fffd} pair"), MASK);
    // Not JSON after all: just a value.
    assert_eq!(masker_of(&["{not \"json at all\"}"]).mask_text("json at all"), "json at all");
}

#[test]
fn short_values_are_named_and_not_shown() {
    let mut masks = Masks::new();
    masks.add("EMPTY", b"");
    masks.add("PIN\u{1b}", b"123");
    masks.add("LINE", b"12\r\n\n");
    masks.add("FOUR", b"1234");
    let warnings: Vec<_> = masks.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "the value of PIN\\u{1b} is shorter than 4 bytes and is not masked",
            "the value of LINE is shorter than 4 bytes and is not masked",
        ]
    );
    assert_eq!(masks.build().mask_text("123 1234 MTIzNA=="), "123 *** ***A==");
}

#[test]
fn nothing_to_hide_is_a_copy() {
    let masker = Masks::new().build();
    assert!(masker.is_empty());
    assert_eq!(through(&masker, b"anything at all", 3), "anything at all");
    assert!(!masker.stream().has_pending());
}

#[test]
fn texts_are_masked_also_where_they_were_cut() {
    let masker = masker_of(&["line one\nline two", "esc\u{1b}ape\u{200b}d"]);
    let masked = masker.mask_line(&Text::new("a line one\nline two, esc\u{1b}ape\u{200b}d\n"));
    assert_eq!(masked.as_str(), "a ***, ***\\u{a}");
    let masked = masker.mask_line(&Text::capped("value line one", 10));
    assert_eq!(masked.as_str(), "value ***…");
    let masked = masker.mask_line(&Text::capped("a plain line", 9));
    assert_eq!(masked.as_str(), "a plain l…");
}

#[test]
fn binary_values_and_torn_characters() {
    let mut masks = Masks::new();
    masks.add("KEY", &[0xff, 0xfe, 0x00, 0x80, 0x81]);
    masks.add("TORN", "日本".as_bytes().get(1..5).unwrap());
    let masker = masks.build();
    let mut out = Vec::new();
    let mut stream = masker.stream();
    stream.push(b"<\xff\xfe\x00\x80\x81> fffe008081 %FF%FE%00%80%81 //4AgIE=", &mut out);
    stream.finish(&mut out);
    assert_eq!(String::from_utf8_lossy(&out), "<***> *** *** ***E=");
    assert_eq!(masker.mask_text("日本語"), "\u{fffd}***\u{fffd}語");
}

#[test]
fn a_value_of_the_largest_size_is_hidden() {
    let mut value: Vec<u8> = Vec::with_capacity(crate::secret::MAX_VALUE_BYTES);
    let mut state = 1u32;
    while value.len() < crate::secret::MAX_VALUE_BYTES {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        value.push(b'0' + (state >> 24) as u8 % 75);
    }
    let text = String::from_utf8(value).unwrap();
    let masker = masker_of(&[&text]);
    assert_eq!(through(&masker, text.as_bytes(), 4096), MASK);
    assert_eq!(through(&masker, STANDARD.encode(&text).as_bytes(), 65536), "***w==");
}

#[test]
fn debug_shows_nothing_of_the_values() {
    let mut masks = Masks::new();
    masks.add("V", b"canary-7f");
    let shown = format!("{masks:?}");
    let masker = masks.build();
    let mut stream = masker.stream();
    stream.push(b"canary", &mut Vec::new());
    assert_eq!(format!("{shown} {masker:?} {stream:?}"), "Masks(..) Masker(..) MaskStream(..)");
}

#[test]
fn maskers_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sent<T: Send + 'static>(_: &T) {}
    let masker = masker_of(&["some secret"]);
    shared(&masker);
    sent(&masker.stream());
}
