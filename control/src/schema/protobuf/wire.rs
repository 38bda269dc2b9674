//! The wire format: varints, tags, lengths.

use std::convert::Infallible;

use super::ProtobufError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::schema) enum Scalar<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl Scalar<'_> {
    pub fn wire_type(&self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }
}

/// Reads one message, field by field.
pub(in crate::schema) struct Reader<'a> {
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0u64;
        for shift in 0..10 {
            let (&byte, rest) = self.rest.split_first().ok_or(ProtobufError::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Overflow)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], ProtobufError> {
        let count = usize::try_from(count).map_err(|_| ProtobufError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next field, `None` at the end. `ty` names the message in errors.
    pub fn next(&mut self, ty: &str) -> Result<Option<(u32, Scalar<'a>)>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let bad = || ProtobufError::BadTag { ty: ty.to_owned() };
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag != 0).ok_or_else(bad)?;
        let value = match key & 7 {
            0 => Scalar::Varint(self.varint()?),
            1 => Scalar::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Scalar::Bytes(self.take(length)?)
            }
            5 => Scalar::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups: upstream's types have none.
            _ => return Err(bad()),
        };
        Ok(Some((tag, value)))
    }
}

pub(in crate::schema) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(in crate::schema) fn put_key(out: &mut Vec<u8>, tag: u32, wire_type: u8) {
    put_varint(out, u64::from(tag) << 3 | u64::from(wire_type));
}

pub(in crate::schema) fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_key(out, tag, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(in crate::schema) fn put_number(out: &mut Vec<u8>, tag: u32, value: u64) {
    put_key(out, tag, 0);
    put_varint(out, value);
}

/// Writes a message whose length is known only afterwards: most are short, so one byte is kept for
/// the length and a longer length moves the message.
pub(in crate::schema) fn put_message(
    out: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let done: Result<(), Infallible> = try_put_message(out, tag, |out| {
        write(out);
        Ok(())
    });
    done.unwrap_or_else(|never| match never {});
}

/// The same for what may fail; then `out` is of no use.
pub(in crate::schema) fn try_put_message<E>(
    out: &mut Vec<u8>,
    tag: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_key(out, tag, 2);
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, length as u64);
    out.splice(at..=at, prefix);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive_both_ways() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.rest.is_empty());
        }
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(ProtobufError::Overflow));
        assert_eq!(Reader::new(&[0xff]).varint(), Err(ProtobufError::Truncated));
    }

    #[test]
    fn lengths_are_written_short_and_long() {
        for length in [0usize, 1, 127, 128, 20_000] {
            let mut out = Vec::new();
            put_message(&mut out, 3, |out| out.extend(std::iter::repeat_n(7, length)));
            let field = Reader::new(&out).next("").expect("field").expect("one");
            assert_eq!(field, (3, Scalar::Bytes(&vec![7; length])));
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        for bytes in
            [&[0x0a, 5, 1][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(Reader::new(bytes).next(""), Err(ProtobufError::Truncated));
        }
        assert!(Reader::new(&[0x00]).next("T").is_err());
        assert!(Reader::new(&[0x0b]).next("T").is_err());
    }
}
