//! Choices that a seed repeats: splitmix64 (Steele, Lea, Flood, 2014). For tests alone.

/// A sequence of choices.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.any() % end
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of them; there is at least one.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = self.below(all.len().max(1) as u64);
        all.get(usize::try_from(at).unwrap_or_default())
    }
}

const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What `name` holds in the version `version`: nothing else holds it, and its end tells a cut one. Some are
/// short and some are some kilobytes.
pub fn value_of(name: &str, version: u64) -> String {
    let seed = name.bytes().fold(version, |seed, byte| mixed(seed ^ u64::from(byte)));
    let mut random = Random::new(seed);
    let words = if seed.is_multiple_of(8) { 1 + random.below(500) } else { 1 + random.below(4) };
    let mut value = format!("{name}#{version}#");
    for _ in 0..words {
        value.push_str(&format!("{:016x}", random.any()));
    }
    value.push('.');
    value
}

/// The version that `value` is of, if it is a value of `name`.
pub fn version_of(name: &str, value: &str) -> Option<u64> {
    let version = value.strip_prefix(name)?.strip_prefix('#')?.split('#').next()?.parse().ok()?;
    (value_of(name, version) == value).then_some(version)
}
