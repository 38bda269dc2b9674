//! Follows the sections of a Wasm file as its pieces come, so that one that was cut off is refused before anything names
//! it. What is inside of the sections is judged when it is compiled. Pure.

/// What a core module and a component begin with.
const MAGIC: [u8; 4] = *b"\0asm";
/// What follows in a core module and in a component.
const VERSIONS: [[u8; 4]; 2] = [[1, 0, 0, 0], [0x0d, 0, 1, 0]];
/// Bytes that a section's size takes at the most.
const SIZE_BYTES_MAX: u32 = 5;

/// Why it is no whole Wasm file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("the file is no WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    #[error(
        "the file is WebAssembly of another version ({0:02x?}) than today's modules and components; build it with a newer toolchain"
    )]
    Version([u8; 4]),
    #[error(
        "the file is damaged: the section at byte {at} has no sound size; copy or build it again"
    )]
    Size { at: u64 },
    #[error(
        "the file is cut off: it ends after {end} bytes, inside of what begins at byte {at}; copy or build it again"
    )]
    CutOff { at: u64, end: u64 },
}

/// How far a file was followed.
#[derive(Debug, Default)]
pub struct Form {
    at: Place,
    /// Bytes so far.
    seen: u64,
    /// Where the section began that is read.
    begun: u64,
}

#[derive(Debug)]
enum Place {
    /// In the first eight bytes, of which so many were there.
    Head {
        bytes: [u8; 8],
        count: usize,
    },
    /// Before a section, or at the end.
    Between,
    Size {
        size: u64,
        count: u32,
    },
    Inside {
        left: u64,
    },
}

impl Default for Place {
    fn default() -> Self {
        Place::Head { bytes: [0; 8], count: 0 }
    }
}

impl Form {
    /// Takes in the next bytes.
    pub fn follow(&mut self, mut piece: &[u8]) -> Result<(), FormError> {
        while let Some((&byte, rest)) = piece.split_first() {
            let taken = match &mut self.at {
                Place::Inside { left } => {
                    let taken = (*left).min(piece.len() as u64);
                    *left -= taken;
                    if *left == 0 {
                        self.at = Place::Between;
                    }
                    piece = &piece[taken as usize..];
                    taken
                }
                _ => {
                    self.step(byte)?;
                    piece = rest;
                    1
                }
            };
            self.seen += taken;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), FormError> {
        match &mut self.at {
            Place::Head { bytes, count } => {
                bytes[*count] = byte;
                *count += 1;
                let (magic, version) = bytes.split_at(MAGIC.len());
                let has = (*count).min(MAGIC.len());
                if magic[..has] != MAGIC[..has] {
                    return Err(FormError::NotWasm);
                }
                if *count == bytes.len() {
                    let version = [version[0], version[1], version[2], version[3]];
                    if !VERSIONS.contains(&version) {
                        return Err(FormError::Version(version));
                    }
                    self.at = Place::Between;
                }
            }
            Place::Between => {
                self.begun = self.seen;
                self.at = Place::Size { size: 0, count: 0 };
            }
            Place::Size { size, count } => {
                *size |= u64::from(byte & 0x7f) << (7 * *count);
                *count += 1;
                let more = byte & 0x80 != 0;
                if (more && *count == SIZE_BYTES_MAX) || *size > u64::from(u32::MAX) {
                    return Err(FormError::Size { at: self.begun });
                }
                self.at = match (more, *size) {
                    (true, size) => Place::Size { size, count: *count },
                    (false, 0) => Place::Between,
                    (false, left) => Place::Inside { left },
                };
            }
            Place::Inside { .. } => {}
        }
        Ok(())
    }

    /// The file has no more bytes.
    pub fn end(&self) -> Result<(), FormError> {
        match self.at {
            Place::Between => Ok(()),
            Place::Head { count, .. } if count < MAGIC.len() => Err(FormError::NotWasm),
            _ => Err(FormError::CutOff { at: self.begun, end: self.seen }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(file: &[u8], pieces: usize) -> Result<(), FormError> {
        let mut form = Form::default();
        file.chunks(pieces).try_for_each(|piece| form.follow(piece))?;
        form.end()
    }

    #[test]
    fn a_file_that_was_cut_off_is_told_from_a_whole_one() {
        // An empty section, and one whose size takes two bytes.
        let file = [&b"\0asm\x0d\0\x01\0\x01\0\0\x80\x01"[..], &[7; 128]].concat();
        for pieces in [1, 2, 3, 7, 1000] {
            assert_eq!(judged(&file, pieces), Ok(()));
            for end in 0..file.len() {
                let wanted = match end {
                    0..4 => Err(FormError::NotWasm),
                    4..8 => Err(FormError::CutOff { at: 0, end: end as u64 }),
                    8 | 10 => Ok(()),
                    9 => Err(FormError::CutOff { at: 8, end: 9 }),
                    end => Err(FormError::CutOff { at: 10, end: end as u64 }),
                };
                assert_eq!(judged(&file[..end], pieces), wanted, "{end} by {pieces}");
            }
        }
    }

    #[test]
    fn what_is_no_wasm_says_what_it_is_not() {
        for (file, wanted) in [
            (&b"#!/bin/sh"[..], FormError::NotWasm),
            (b"\0asM", FormError::NotWasm),
            (b"\0asm\x0a\0\x01\0", FormError::Version([0x0a, 0, 1, 0])),
            (b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\xff", FormError::Size { at: 8 }),
            (b"\0asm\x01\0\0\0\x01\xff\xff\xff\xff\x7f", FormError::Size { at: 8 }),
        ] {
            assert_eq!(judged(file, 2), Err(wanted), "{file:?}");
        }
    }
}
