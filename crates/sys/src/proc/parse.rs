//! The pieces that all parsers of /proc text are made of. None panics, whatever the bytes.

use std::str::FromStr;

/// A part of a /proc file that is not as its manual page says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {what} in `{text}`")]
pub struct ParseError {
    /// The value that was looked for.
    pub what: &'static str,
    /// The text it was looked for in, shortened.
    pub text: String,
}

pub(super) type Parsed<T> = Result<T, ParseError>;

/// Longest piece of foreign text that an error repeats.
const SHOWN_BYTES: usize = 80;

/// The error that `what` is not to be found in `text`.
pub(super) fn unexpected(what: &'static str, text: &[u8]) -> ParseError {
    let shown = &text[..text.len().min(SHOWN_BYTES)];
    ParseError {
        what,
        text: String::from_utf8_lossy(shown).into_owned(),
    }
}

/// The lines of a text, without their ends; a last line without an end counts.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// The words of a line, separated by any number of blanks.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
}

/// `key: value` as its two parts, the value without surrounding blanks.
pub(super) fn key_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// A decimal number, signed or not, that fills the text but for blanks.
pub(super) fn decimal<T: FromStr>(what: &'static str, text: &[u8]) -> Parsed<T> {
    std::str::from_utf8(text.trim_ascii())
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| unexpected(what, text))
}

/// A hexadecimal number, with or without `0x`.
pub(super) fn hex(what: &'static str, text: &[u8]) -> Parsed<u64> {
    let trimmed = text.trim_ascii();
    radix(what, trimmed.strip_prefix(b"0x").unwrap_or(trimmed), 16)
}

/// An octal number, with or without leading zeros.
pub(super) fn octal(what: &'static str, text: &[u8]) -> Parsed<u64> {
    radix(what, text.trim_ascii(), 8)
}

fn radix(what: &'static str, digits: &[u8], radix: u32) -> Parsed<u64> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, radix).ok())
        .ok_or_else(|| unexpected(what, digits))
}

/// Decimal numbers separated by blanks, any number of them.
pub(super) fn decimals<T: FromStr>(what: &'static str, text: &[u8]) -> Parsed<Vec<T>> {
    words(text).map(|word| decimal(what, word)).collect()
}

/// A decimal fraction such as `12.345678`, in units of 10^-`digits`; further digits are cut off.
pub(super) fn fixed_point(what: &'static str, text: &[u8], digits: usize) -> Parsed<u64> {
    let text = text.trim_ascii();
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(unexpected(what, text));
    }
    let mut value: u64 = decimal(what, whole)?;
    for place in 0..digits {
        let digit = fraction.get(place).map_or(0, |byte| u64::from(byte - b'0'));
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(digit))
            .ok_or_else(|| unexpected(what, text))?;
    }
    Ok(value)
}

/// `major:minor`, both hexadecimal, as the `st_dev` that stat(2) gives for it.
pub(super) fn device(what: &'static str, text: &[u8]) -> Parsed<u64> {
    let (major, minor) = key_value(text).ok_or_else(|| unexpected(what, text))?;
    let narrow = |part| u32::try_from(hex(what, part)?).map_err(|_| unexpected(what, text));
    Ok(rustix::fs::makedev(narrow(major)?, narrow(minor)?))
}

/// The strings of a list in which each is ended by a zero byte; the last one may lack its end.
pub(super) fn zero_ended(bytes: &[u8]) -> Vec<Vec<u8>> {
    let ended = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    ended.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fractions_keep_their_places() {
        assert_eq!(fixed_point("t", b"1892802.174270", 6), Ok(1_892_802_174_270));
        assert_eq!(fixed_point("t", b"12.5", 2), Ok(1250));
        assert_eq!(fixed_point("t", b"7", 2), Ok(700));
        assert!(fixed_point("t", b"1.x", 2).is_err());
        assert!(fixed_point("t", b"18446744073709551615.0", 1).is_err());
    }

    #[test]
    fn lists_of_strings_keep_empty_ones() {
        assert_eq!(zero_ended(b""), Vec::<Vec<u8>>::new());
        assert_eq!(zero_ended(b"a\0\0b\0"), [&b"a"[..], b"", b"b"]);
        assert_eq!(zero_ended(b"a\0b"), [&b"a"[..], b"b"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = fixed_point("x", &bytes, 9);
            let _ = device("x", &bytes);
            let _ = (hex("x", &bytes), octal("x", &bytes));
            let _ = decimals::<i32>("x", &bytes);
            let _ = zero_ended(&bytes);
        }
    }
}
