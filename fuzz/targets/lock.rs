//! A lock that reads is written, and reads the same again; each of its rights reads back alone.

use strongroom_core::rights::Right;
use strongroom_core::{Lock, Text};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lock = match Lock::parse(text, Text::new("strongroom.lock")) {
        Ok(lock) => lock,
        Err(failure) => {
            let _ = format!("{failure}");
            return;
        }
    };
    let written = lock.to_toml().unwrap();
    let read = Lock::parse(&written, Text::new("written")).unwrap_or_else(|f| panic!("{f}: {written}"));
    assert_eq!(read, lock);
    assert_eq!(read.to_toml().unwrap(), written);
    for locked in lock.iter() {
        assert_eq!(lock.verify(&locked.name, &locked.digest, &locked.rights).map_err(|f| f.to_string()), Ok(()));
        for right in &locked.rights.rights {
            assert_eq!(Right::parse(&right.to_string()).as_ref(), Some(right));
        }
        for words in locked.rights.in_words() {
            assert!(!words.as_str().chars().any(char::is_control));
        }
    }
}
