//! Exit codes of preview 1 modules. The adapter that turns such a module into a component hands on success or failure
//! alone, from the time when WASI 0.2 knew no more. So the module's import of `proc_exit` is given to a second, tiny
//! adapter, which calls `wasi:cli/exit.exit-with-code`.

use std::sync::OnceLock;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1;
use wasmparser::{Parser, Payload};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// As long as the name that it takes the place of, so that nothing in the module moves.
pub(crate) const ADAPTER_NAME: &str = "copepod_exit_with_code";
const PROC_EXIT: &str = "proc_exit";

const WIT: &str = "
    package copepod:adapter;

    world exit {
        import wasi:cli/exit@0.2.12;
    }

    package wasi:cli@0.2.12 {
        interface exit {
            exit-with-code: func(status-code: u8);
        }
    }
";

/// The module with its `proc_exit` taken from [`ADAPTER_NAME`]; `None` where it has none.
pub(crate) fn redirect(core: &[u8]) -> Option<Vec<u8>> {
    let imports = Parser::new(0).parse_all(core).find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports.range()),
        _ => None,
    })?;
    let import = [name(PREVIEW1), name(PROC_EXIT)].concat();
    let at = core[imports.clone()].windows(import.len()).position(|bytes| bytes == import)?;
    let mut redirected = core.to_owned();
    let module = imports.start + at + 1;
    redirected[module..module + PREVIEW1.len()].copy_from_slice(ADAPTER_NAME.as_bytes());
    Some(redirected)
}

/// The adapter, made once.
pub(crate) fn adapter() -> Result<&'static [u8], String> {
    static ADAPTER: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    ADAPTER.get_or_init(make).as_deref().map_err(Clone::clone)
}

/// What the adapter is made of.
pub(crate) fn parts() -> (Vec<u8>, &'static str) {
    (module(), WIT)
}

fn make() -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    let mut module = module();
    resolve
        .push_str("exit.wit", WIT)
        .and_then(|package| resolve.select_world(&[package], Some("exit")))
        .and_then(|world| {
            let encoding = StringEncoding::UTF8;
            wit_component::embed_component_metadata(&mut module, &resolve, world, encoding)
        })
        .map_err(|error| format!("{error:#}"))?;
    Ok(module)
}

/// Of a code, a system keeps the lowest eight bits.
fn module() -> Vec<u8> {
    const I32: u8 = 0x7f;
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    let mut section = |id: u8, body: &[u8]| {
        wasm.extend([id, small(body.len())]);
        wasm.extend(body);
    };
    // One type, (i32); one import and one function of it.
    section(1, &[1, 0x60, 1, I32, 0]);
    section(
        2,
        &[&[1][..], &name("wasi:cli/exit@0.2.12"), &name("exit-with-code"), &[0, 0]].concat(),
    );
    section(3, &[1, 0]);
    section(7, &[&[1][..], &name(PROC_EXIT), &[0, 1]].concat());
    #[rustfmt::skip]
    let code = [
        0, // no locals
        0x20, 0, 0x41, 0xff, 1, 0x71, // code & 255
        0x10, 0, 0x00, 0x0b, // call the import, which does not return
    ];
    section(10, &[&[1, small(code.len())], &code[..]].concat());
    wasm
}

/// A string as WebAssembly has it.
fn name(text: &str) -> Vec<u8> {
    [&[small(text.len())], text.as_bytes()].concat()
}

/// A length below 128 is one byte.
fn small(length: usize) -> u8 {
    u8::try_from(length).ok().filter(|length| *length < 128).expect("all of this module is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_of_one_length() {
        assert_eq!(ADAPTER_NAME.len(), PREVIEW1.len());
    }

    #[test]
    fn a_module_without_an_exit_stays_as_it_is() {
        assert_eq!(redirect(b"\0asm\x01\0\0\0"), None);
        assert_eq!(redirect(b"\0asm\x01\0\0\0\x02\x07\x01\x01a\x01b\0\0"), None);
        assert_eq!(redirect(b"broken"), None);
    }

    #[test]
    fn the_adapter_is_made() {
        assert!(adapter().unwrap().starts_with(b"\0asm\x01\0\0\0"));
    }
}
