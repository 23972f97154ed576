//! The audit log: what was written holds, however it is read; what was changed by someone without the key does not.
//!
//! Input: eight bytes that say what is done to the log, then lines. Each is the caller and the claims of a record; one
//! of them is also what is put into the log, or all of the log.

use std::time::Duration;

use strongroom_core::audit::{Anchor, Chain, Head, Keys, Line, Record, Report, Verifier};

use strongroom_core::policy::Operation;
use strongroom_core::{Kind, Text};

pub fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first_chunk::<8>() else { return };
    let keys = Keys::new(&[7; 32]);
    // A log that is nothing but these bytes.
    let foreign = read(&keys, rest, usize::MAX, None);
    assert_eq!(foreign, read(&keys, rest, usize::from(choice[0]).max(1), None));
    assert_eq!(foreign.lines, 0, "a line holds that nobody wrote");

    let (log, ends, head) = written(&keys, rest);
    let report = read(&keys, &log, usize::MAX, Some(head));
    assert_eq!((report.problems.len(), report.torn_end), (0, None), "{report:?}");
    assert_eq!((report.lines, report.head, report.anchor), (ends.len() as u64, Some(head), Anchor::Holds));
    assert_eq!(report, read(&keys, &log, usize::from(choice[1]).max(1), Some(head)));
    assert_eq!(Head::parse(&head.to_string()), Some(head));

    let at = usize::from(u16::from_le_bytes([choice[2], choice[3]]));
    let line = at % ends.len();
    let start = if line == 0 { 0 } else { ends[line - 1] };
    let end = ends[line];
    let mut changed = log.clone();
    match choice[4] % 4 {
        0 => changed[at % log.len()] ^= choice[5].max(1),
        1 => drop(changed.drain(start..end)),
        2 => {
            let again = log[start..end].to_vec();
            changed.splice(end..end, again);
        }
        _ => {
            let mut put_in: Vec<u8> = rest.iter().copied().filter(|byte| *byte != b'\n').take(500).collect();
            put_in.push(b'\n');
            changed.splice(start..start, put_in);
        }
    }
    if changed == log {
        return;
    }
    let report = read(&keys, &changed, usize::MAX, Some(head));
    let holds = report.problems.is_empty() && report.torn_end.is_none() && report.anchor == Anchor::Holds;
    // That older lines are not here is told by the first number.
    let shorter = choice[4] % 4 == 1 && line == 0;
    assert!(!holds || (shorter && report.first != Some(1)), "a change is not seen: {report:?}");
}

fn read(keys: &Keys, log: &[u8], piece: usize, anchor: Option<Head>) -> Report {
    let mut verifier = Verifier::new(keys, anchor);
    log.chunks(piece.min(log.len().max(1))).for_each(|piece| verifier.push(piece));
    verifier.finish()
}

/// A log of a record for each line, where the lines of it end, and its head.
fn written(keys: &Keys, data: &[u8]) -> (Vec<u8>, Vec<usize>, Head) {
    let text = String::from_utf8_lossy(data);
    let mut chain = Chain::after(keys, Head::START, true);
    let (mut log, mut ends) = (Vec::new(), Vec::new());
    for (index, line) in text.split('\n').take(8).enumerate() {
        let claims = [("user-agent", Text::new(line))];
        let time = Duration::from_millis(data.len() as u64 * 1_000_003 * index as u64);
        let record = Record {
            caller: line,
            kind: "token",
            door: "native",
            operation: Operation::Resolve,
            mount: None,
            reference: None,
            plugin: None,
            outcome: if index % 2 == 0 { Ok(()) } else { Err(Kind::NotFound) },
            rule: Some(index),
            micros: index as u64,
            trace: Some([index as u8; 16]),
            claimed: &claims,
        };
        let start = log.len();
        match index {
            5 => chain.lost(&mut log, time, 3),
            _ => chain.record(&mut log, time, &record),
        }
        ends.push(log.len());
        let written = &log[start..log.len() - 1];
        assert!(!written.contains(&b'\n'), "a record is one line");
        assert!(serde_json::from_slice::<serde_json::Value>(written).is_ok(), "{}", String::from_utf8_lossy(written));
        assert_eq!(Line::read(written, keys).unwrap().head, chain.head());
    }
    let head = chain.head();
    (log, ends, head)
}
