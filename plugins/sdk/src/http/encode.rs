//! Percent-encoding by RFC 3986: unreserved bytes stay, every other becomes `%XX` in upper case. The
//! host compares with the same encoding.

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// Appends one path segment, or one part of a parameter.
pub(super) fn segment(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
        }
    }
}

/// Appends `name=value`.
pub(super) fn pair(name: &str, value: &str, out: &mut String) {
    segment(name, out);
    out.push('=');
    segment(value, out);
}
