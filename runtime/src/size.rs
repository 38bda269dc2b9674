//! How large a component may be: judged in one pass over its bytes, before anything is compiled, so that the compiler's
//! time and memory are bounded.
//!
//! The bounds lie above what toolchains emit (CPython and SpiderMonkey in a component have some ten thousand functions, the
//! largest of some hundred KiB) and below what would keep a core busy for more than minutes: 100,000 functions were seen to
//! take 550 MiB and ten CPU-seconds, and one of 256 KiB that is all branches four, growing with the square of its size.

use wasmparser::{BinaryReaderError, ComponentInstance, Parser, Payload};

/// Bytes of a file that is compiled, at the most.
pub const FILE_BYTES_MAX: usize = 256 << 20;
/// Functions with a body, all modules together.
const FUNCTIONS_MAX: u64 = 150_000;
/// Bytes of one function.
const FUNCTION_BYTES_MAX: usize = 1 << 20;
/// The squares of the functions' sizes in KiB, added up: how the time to compile them grows at the worst.
const SQUARES_MAX: u64 = 2_000_000;
/// Core modules and components, nested ones included.
const PARTS_MAX: u64 = 1_000;
/// Instances that the nesting could multiply to. Components that instantiate each other twice a level double with each.
const INSTANCES_MAX: u64 = 10_000;

/// Kinds of bulk memory operations, all modules together: for each a function is added (`bulk.rs`). A toolchain's module has
/// two, and one more for each data segment of more than a MiB; but a hundred memories can be copied to each other in ten
/// thousand ways.
pub(crate) const BULK_KINDS_MAX: usize = 10_000;

/// What is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    #[error("the file has {bytes} bytes, and {FILE_BYTES_MAX} are the most that is compiled")]
    File { bytes: usize },
    #[error("it has more than {FUNCTIONS_MAX} functions, the most that is compiled")]
    Functions,
    #[error("a function of {bytes} bytes, and {FUNCTION_BYTES_MAX} are the most that is compiled")]
    Function { bytes: usize },
    #[error("its large functions together would take too long to compile")]
    Squares,
    #[error("it nests more than {PARTS_MAX} modules and components")]
    Parts,
    #[error(
        "it has more than {BULK_KINDS_MAX} different bulk memory operations, the most that is compiled"
    )]
    Bulk,
    #[error("its nested components may multiply to more than {INSTANCES_MAX} instances")]
    Instances,
}

/// What is found of one component.
#[derive(Default)]
struct Level {
    /// Instances of components or core modules that it makes.
    instances: u64,
}

/// `Ok(Err(_))`: sound so far, and too large.
pub(crate) fn check(wasm: &[u8]) -> Result<Result<(), TooLarge>, BinaryReaderError> {
    if wasm.len() > FILE_BYTES_MAX {
        return Ok(Err(TooLarge::File { bytes: wasm.len() }));
    }
    let (mut functions, mut parts, mut squares) = (0u64, 0u64, 0u64);
    let mut levels = vec![Level::default()];
    // Of those components that have ended.
    let mut product = 1u64;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::CodeSectionStart { count, .. } => {
                functions += u64::from(count);
                if functions > FUNCTIONS_MAX {
                    return Ok(Err(TooLarge::Functions));
                }
            }
            Payload::CodeSectionEntry(body) => {
                let bytes = body.range().len();
                if bytes > FUNCTION_BYTES_MAX {
                    return Ok(Err(TooLarge::Function { bytes }));
                }
                squares += ((bytes >> 10) as u64).pow(2);
                if squares > SQUARES_MAX {
                    return Ok(Err(TooLarge::Squares));
                }
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                parts += 1;
                if parts > PARTS_MAX {
                    return Ok(Err(TooLarge::Parts));
                }
                levels.push(Level::default());
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    let made = matches!(instance?, ComponentInstance::Instantiate { .. });
                    count(&mut levels, u64::from(made));
                }
            }
            Payload::InstanceSection(instances) => count(&mut levels, instances.count().into()),
            Payload::End(_) => {
                let level = levels.pop().unwrap_or_default();
                // Whoever makes an instance of it makes all of its instances: a bound, since most are made once.
                product = product.saturating_mul(level.instances.max(1));
                if level.instances > INSTANCES_MAX || product > INSTANCES_MAX.pow(2) {
                    return Ok(Err(TooLarge::Instances));
                }
            }
            _ => {}
        }
    }
    Ok(Ok(()))
}

fn count(levels: &mut [Level], made: u64) {
    if let Some(level) = levels.last_mut() {
        level.instances += made;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(functions: u32) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend([1, 4, 1, 0x60, 0, 0]);
        for (id, entry) in [(3, &[0u8][..]), (10, &[2, 0, 0x0b])] {
            let mut body = leb(functions);
            for _ in 0..functions {
                body.extend(entry);
            }
            wasm.push(id);
            wasm.extend(leb(body.len() as u32));
            wasm.extend(body);
        }
        wasm
    }

    fn leb(mut value: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let more = value > 0x7f;
            bytes.push((value & 0x7f) as u8 | if more { 0x80 } else { 0 });
            value >>= 7;
            if !more {
                return bytes;
            }
        }
    }

    #[test]
    fn a_million_functions_are_refused_and_ten_thousand_are_not() {
        assert_eq!(check(&module(10_000)).unwrap(), Ok(()));
        assert_eq!(check(&module(1_000_000)).unwrap(), Err(TooLarge::Functions));
    }

    /// Each level makes two instances of the one within.
    fn doubling(levels: u32) -> String {
        let mut text = "(component $c0)".to_owned();
        for level in 1..=levels {
            text = format!(
                "(component $c{level} {text} {})",
                format!("(instance (instantiate $c{}))", level - 1).repeat(2)
            );
        }
        text
    }

    #[test]
    fn components_that_double_with_each_level_are_refused() {
        let wasm = |levels| wat::parse_str(doubling(levels)).unwrap();
        assert_eq!(check(&wasm(3)).unwrap(), Ok(()));
        assert_eq!(check(&wasm(40)).unwrap(), Err(TooLarge::Instances));
    }

    /// So many functions, each of so many instructions that do nothing.
    fn large(functions: u8, instructions: usize) -> Vec<u8> {
        let body = vec![0x01; instructions];
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend([1, 4, 1, 0x60, 0, 0, 3, functions + 1, functions]);
        wasm.extend(vec![0; functions.into()]);
        let code = [&leb(body.len() as u32 + 2)[..], &[0], &body, &[0x0b]].concat();
        let code = [&[functions], &code.repeat(functions.into())[..]].concat();
        wasm.push(10);
        wasm.extend(leb(code.len() as u32));
        wasm.extend(code);
        wasm
    }

    #[test]
    fn huge_functions_are_refused() {
        assert_eq!(check(&large(1, FUNCTION_BYTES_MAX / 2)).unwrap(), Ok(()));
        let alone = check(&large(1, FUNCTION_BYTES_MAX)).unwrap();
        assert!(matches!(alone, Err(TooLarge::Function { .. })));
        assert_eq!(check(&large(20, 256 << 10)).unwrap(), Ok(()));
        assert_eq!(check(&large(40, 256 << 10)).unwrap(), Err(TooLarge::Squares));
    }
}
