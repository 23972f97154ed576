//! The sections of a WebAssembly file, read by the tests' own means and not by those that are tested.

/// A plugin file without its manifest: the component as the compiler made it.
pub fn without_manifest(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (bytes[..8].to_vec(), 8);
    while at < bytes.len() {
        let start = at;
        let id = bytes[at];
        at += 1;
        let size = leb(bytes, &mut at);
        let content = &bytes[at..at + size];
        at += size;
        if id != 0 || !content.windows(21).any(|window| window == b"strongroom:manifest@1") {
            out.extend_from_slice(&bytes[start..at]);
        }
    }
    assert!(out.len() < bytes.len());
    out
}

/// The number at `at`, in LEB128.
pub fn leb(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}
