//! The bytes of the commit log: a segment's header, and groups of records. It performs no I/O.
//!
//! ```text
//! segment  magic "COPELOG\0" · format u32 · first revision u64 · crc32 of these     (24 bytes)
//! group    magic C0 FE 9D FF · body length u32 · first revision u64 · records u32
//!          · crc32 of the body u32 · crc32 of these                                 (28 bytes)
//!          · body: the records, one revision each
//! record   key length u32 · value length u32 (all ones: deletion) · created u64
//!          · expiry in Unix milliseconds u64 (0: none) · key · value
//! ```
//!
//! Integers are little-endian. What is synced together is one group with one checksum, so a power
//! cut can tear only the last group, and it is either whole or not there.

use std::sync::Arc;

use bytes::Bytes;

use super::Revision;

pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEADER: usize = 24;
const SEGMENT_MAGIC: &[u8; 8] = b"COPELOG\0";
/// FF is in no UTF-8 text, so it is rare in values: a search for a group seldom looks twice.
const GROUP_MAGIC: [u8; 4] = [0xC0, 0xFE, 0x9D, 0xFF];
const GROUP_HEADER: usize = 28;
const DELETED: u32 = u32::MAX;

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    pub key: Arc<str>,
    pub value: Option<Bytes>,
    pub created: Revision,
    pub expires_unix_ms: Option<u64>,
}

pub(super) fn segment_header(first: Revision) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..8].copy_from_slice(SEGMENT_MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..20].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// What a segment's header says, or what is wrong with it.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<Revision, String> {
    let header = bytes.get(..SEGMENT_HEADER).ok_or("its header is cut short")?;
    let mut fields = Reader(header);
    let magic = fields.take(8);
    let (format, first, crc) = (fields.u32(), fields.u64(), fields.u32());
    if magic != Some(SEGMENT_MAGIC) || crc != Some(crc32fast::hash(&header[..20])) {
        return Err("its header is not a log's".to_owned());
    }
    if format != Some(FORMAT) {
        let format = format.unwrap_or_default();
        return Err(format!("it has format {format}, this version reads format {FORMAT}"));
    }
    Ok(Revision(first.unwrap_or_default()))
}

/// Writes a group for records whose revisions begin at `first` into `out`, which is emptied.
pub(super) fn write_group<'a>(
    out: &mut Vec<u8>,
    first: Revision,
    records: impl IntoIterator<Item = &'a Logged>,
) -> Result<(), String> {
    out.clear();
    out.resize(GROUP_HEADER, 0);
    let mut count = 0_u32;
    for record in records {
        write_record(out, record)?;
        count += 1;
    }
    let body = &out[GROUP_HEADER..];
    let length = u32::try_from(body.len()).map_err(|_| "a group of writes exceeds 4 GiB")?;
    let body_crc = crc32fast::hash(body);
    out[..4].copy_from_slice(&GROUP_MAGIC);
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..16].copy_from_slice(&first.0.to_le_bytes());
    out[16..20].copy_from_slice(&count.to_le_bytes());
    out[20..24].copy_from_slice(&body_crc.to_le_bytes());
    let crc = crc32fast::hash(&out[..24]);
    out[24..28].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn write_record(out: &mut Vec<u8>, record: &Logged) -> Result<(), String> {
    let too_long = |_| "a key or value exceeds 4 GiB";
    let key = u32::try_from(record.key.len()).map_err(too_long)?;
    let value = match &record.value {
        Some(value) => u32::try_from(value.len()).map_err(too_long)?,
        None => DELETED,
    };
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&record.created.0.to_le_bytes());
    out.extend_from_slice(&record.expires_unix_ms.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(record.key.as_bytes());
    out.extend_from_slice(record.value.as_deref().unwrap_or_default());
    Ok(())
}

/// A group read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub first: Revision,
    pub records: Vec<Logged>,
    /// The bytes it takes.
    pub length: usize,
}

/// The group at the beginning of `bytes`; `None` where no whole one is there.
pub(super) fn read_group(bytes: &[u8]) -> Option<Group> {
    let header = bytes.get(..GROUP_HEADER)?;
    let mut fields = Reader(header);
    let magic = fields.take(4)?;
    let (length, first, count) = (fields.u32()?, fields.u64()?, fields.u32()?);
    let (body_crc, crc) = (fields.u32()?, fields.u32()?);
    if magic != GROUP_MAGIC || crc != crc32fast::hash(&header[..24]) {
        return None;
    }
    let body = bytes[GROUP_HEADER..].get(..usize::try_from(length).ok()?)?;
    if body_crc != crc32fast::hash(body) {
        return None;
    }
    let mut reader = Reader(body);
    let records = (0..count).map(|_| read_record(&mut reader)).collect::<Option<_>>()?;
    Some(Group { first: Revision(first), records, length: GROUP_HEADER + body.len() })
}

fn read_record(reader: &mut Reader<'_>) -> Option<Logged> {
    let (key, value) = (reader.u32()?, reader.u32()?);
    let (created, expires) = (reader.u64()?, reader.u64()?);
    let key = std::str::from_utf8(reader.take(usize::try_from(key).ok()?)?).ok()?;
    let value = match value {
        DELETED => None,
        length => Some(Bytes::copy_from_slice(reader.take(usize::try_from(length).ok()?)?)),
    };
    Some(Logged {
        key: key.into(),
        value,
        created: Revision(created),
        expires_unix_ms: (expires != 0).then_some(expires),
    })
}

/// The offset of the first whole group anywhere in `bytes`.
pub(super) fn find_group(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(GROUP_MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == GROUP_MAGIC)
        .map(|(at, _)| at)
        .find(|&at| read_group(&bytes[at..]).is_some())
}

pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logged() -> impl Strategy<Value = Logged> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        (".{0,20}", value, any::<u64>(), prop::option::of(1_u64..)).prop_map(
            |(key, value, created, expires_unix_ms)| Logged {
                key: key.as_str().into(),
                value: value.map(Bytes::from),
                created: Revision(created),
                expires_unix_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn a_group_reads_back_as_written_and_not_at_all_when_damaged(
            records in prop::collection::vec(logged(), 1..5), first: u64,
            at: prop::sample::Index, flip in 1_u8..,
        ) {
            let mut bytes = Vec::new();
            write_group(&mut bytes, Revision(first), &records).unwrap();
            let length = bytes.len();
            prop_assert_eq!(read_group(&bytes), Some(Group { first: Revision(first), records, length }));
            prop_assert_eq!(read_group(&bytes[..length - 1]), None);
            bytes[at.index(length)] ^= flip;
            prop_assert_eq!(read_group(&bytes), None);
        }

        #[test]
        fn no_bytes_make_the_reader_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            read_group(&bytes);
            find_group(&bytes);
            let _ = read_segment_header(&bytes);
        }
    }

    #[test]
    fn a_header_of_another_format_is_refused_by_number() {
        let mut header = segment_header(Revision(2));
        assert_eq!(read_segment_header(&header), Ok(Revision(2)));
        header[8] = 9;
        let crc = crc32fast::hash(&header[..20]);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        assert!(read_segment_header(&header).unwrap_err().contains("format 9"));
    }
}
