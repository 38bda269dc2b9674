//! Bulk memory operations in steps, so that a guest can be interrupted within one.
//!
//! `memory.fill`, `memory.copy` and `memory.init` of a GiB take the engine a tenth of a second, in one call of the host's
//! that no epoch interrupts: too long for a kill, and for the neighbours that wait for the thread. So before a component is
//! compiled, each such instruction of its core modules becomes a call of a function, added to the module, that does the
//! same a MiB at a time, with a loop's check of the epoch after each. Where it would go out of bounds it traps before it
//! has written anything, as the instruction does.
//!
//! An instruction whose length is a constant below a step stays as it is, and one that reads from a data segment that is
//! no longer than that. All else in the file is copied byte by byte.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use wasm_encoder::{
    BlockType, CodeSection, Component, ComponentSectionId, Encode, Function, InstructionSink,
    RawSection, SectionId,
};
use wasmparser::{
    BinaryReaderError, Chunk, FunctionBody, MemoryType, Operator, Parser, Payload, SectionLimited,
    TypeRef,
};

use crate::size::{BULK_KINDS_MAX, TooLarge};

/// Bytes of a step: a fraction of a millisecond, even where each page is touched for the first time.
const STEP: u32 = 1 << 20;

/// The component, its bulk memory operations in steps. `Ok(Err(_))`: sound so far, and too large.
/// What is not sound stays so: the compiler finds it.
pub(crate) fn in_steps(
    component: &[u8],
) -> Result<Result<Cow<'_, [u8]>, TooLarge>, BinaryReaderError> {
    let mut added = Added::default();
    let stepped = of_component(component, &mut added)?;
    if added.refused {
        return Ok(Err(TooLarge::Bulk));
    }
    Ok(Ok(stepped.map_or(Cow::Borrowed(component), Cow::Owned)))
}

/// Functions added so far.
#[derive(Default)]
struct Added {
    count: usize,
    /// One more than there may be was needed; nothing is added any more.
    refused: bool,
}

/// `None` where nothing in it changes.
fn of_component(wasm: &[u8], added: &mut Added) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let mut changed = false;
    let mut out = Component::new();
    let mut parser = Parser::new(0);
    let mut at = 0;
    while at < wasm.len() {
        let Chunk::Parsed { consumed, payload } = parser.parse(&wasm[at..], true)? else {
            break;
        };
        at += consumed;
        let nested = match &payload {
            Payload::ModuleSection { unchecked_range: range, .. } => Some((
                ComponentSectionId::CoreModule,
                range,
                of_module as fn(&[u8], &mut Added) -> _,
            )),
            Payload::ComponentSection { unchecked_range: range, .. } => {
                Some((ComponentSectionId::Component, range, of_component as _))
            }
            _ => None,
        };
        if let Some((id, range, steps)) = nested {
            let part = wasm.get(range.clone()).unwrap_or_default();
            let rewritten: Option<Vec<u8>> = steps(part, added)?;
            changed |= rewritten.is_some();
            out.section(&RawSection { id: id.into(), data: rewritten.as_deref().unwrap_or(part) });
            at = range.end;
        } else if let Some((id, range)) = payload.as_section() {
            out.section(&RawSection { id, data: &wasm[range] });
        }
    }
    Ok(changed.then(|| out.finish()))
}

/// A bulk operation on memories of the module, by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bulk {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
    Init { memory: u32, data: u32 },
}

/// An instruction of a function's body that becomes a call.
struct Edit {
    /// In the module's bytes.
    range: Range<usize>,
    /// Among the module's functions.
    function: u32,
}

/// What the added functions have to know of the module.
#[derive(Default)]
struct Module {
    types: u32,
    functions: u32,
    memories: Vec<MemoryType>,
    /// Lengths of the data segments.
    data: Vec<u64>,
    found: Vec<Bulk>,
    /// Where in `found` each lies.
    places: HashMap<Bulk, u32>,
}

fn of_module(wasm: &[u8], added: &mut Added) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let mut module = Module::default();
    let mut code = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(types) => {
                for group in types {
                    module.types += group?.types().len() as u32;
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) | TypeRef::FuncExact(_) => module.functions += 1,
                        TypeRef::Memory(memory) => module.memories.push(memory),
                        TypeRef::Table(_) | TypeRef::Global(_) | TypeRef::Tag(_) => {}
                    }
                }
            }
            Payload::FunctionSection(functions) => module.functions += functions.count(),
            Payload::MemorySection(memories) => {
                for memory in memories {
                    module.memories.push(memory?);
                }
            }
            Payload::CodeSectionEntry(body) => code.push(body),
            Payload::DataSection(data) => {
                for data in data {
                    let data = data?;
                    module.data.push(data.data.len() as u64);
                }
            }
            _ => {}
        }
    }
    let mut bodies = Vec::with_capacity(code.len());
    for body in code {
        bodies.push((body.range(), module.edits(&body, added)?));
    }
    if module.found.is_empty() { Ok(None) } else { Ok(Some(module.rewrite(wasm, &bodies)?)) }
}

impl Module {
    fn edits(
        &mut self,
        body: &FunctionBody<'_>,
        added: &mut Added,
    ) -> Result<Vec<Edit>, BinaryReaderError> {
        let mut edits = Vec::new();
        let mut reader = body.get_operators_reader()?;
        // What the instruction before pushed, where that was a constant.
        let mut constant = None;
        while !reader.eof() {
            let start = reader.original_position();
            let (bulk, pushed) = match reader.read()? {
                Operator::MemoryFill { mem } => (Some(Bulk::Fill { memory: mem }), None),
                Operator::MemoryCopy { dst_mem, src_mem } => {
                    (Some(Bulk::Copy { to: dst_mem, from: src_mem }), None)
                }
                Operator::MemoryInit { data_index, mem } => {
                    (Some(Bulk::Init { memory: mem, data: data_index }), None)
                }
                Operator::I32Const { value } => (None, Some(u64::from(value.cast_unsigned()))),
                Operator::I64Const { value } => (None, Some(value.cast_unsigned())),
                _ => (None, None),
            };
            let short = constant.is_some_and(|length| length <= u64::from(STEP));
            constant = pushed;
            if let Some(bulk) = bulk
                && !short
                && self.may_be_long(bulk)
                && let Some(place) = self.place(bulk, added)
            {
                let function = self.functions + place;
                edits.push(Edit { range: start..reader.original_position(), function });
            }
        }
        Ok(edits)
    }

    /// Longer than a step, and sound as far as its indices go.
    fn may_be_long(&self, bulk: Bulk) -> bool {
        let is_memory = |index: u32| (index as usize) < self.memories.len();
        match bulk {
            Bulk::Fill { memory } => is_memory(memory),
            Bulk::Copy { to, from } => is_memory(to) && is_memory(from),
            Bulk::Init { memory, data } => {
                let length = self.data.get(data as usize);
                is_memory(memory) && length.is_some_and(|length| *length > u64::from(STEP))
            }
        }
    }

    /// The place of the function that does this, among those that are added; `None` where there are too many.
    fn place(&mut self, bulk: Bulk, added: &mut Added) -> Option<u32> {
        if let Some(place) = self.places.get(&bulk) {
            return Some(*place);
        }
        added.refused |= added.count == BULK_KINDS_MAX;
        if added.refused {
            return None;
        }
        added.count += 1;
        let place = self.found.len() as u32;
        self.found.push(bulk);
        self.places.insert(bulk, place);
        Some(place)
    }

    fn rewrite(
        &self,
        wasm: &[u8],
        bodies: &[(Range<usize>, Vec<Edit>)],
    ) -> Result<Vec<u8>, BinaryReaderError> {
        let helpers: Vec<Helper> = self.found.iter().map(|bulk| self.helper(*bulk)).collect();
        let mut out = wasm_encoder::Module::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    let added = helpers.iter().flat_map(Helper::ty).collect();
                    let data = &self.longer(wasm, &types, added);
                    out.section(&RawSection { id: SectionId::Type.into(), data });
                }
                Payload::FunctionSection(functions) => {
                    let mut added = Vec::new();
                    (0..helpers.len() as u32).for_each(|at| (self.types + at).encode(&mut added));
                    let data = &self.longer(wasm, &functions, added);
                    out.section(&RawSection { id: SectionId::Function.into(), data });
                }
                Payload::CodeSectionStart { .. } => {
                    let mut code = CodeSection::new();
                    for (range, edits) in bodies {
                        code.raw(&edited(wasm, range.clone(), edits));
                    }
                    for helper in &helpers {
                        code.function(&helper.body());
                    }
                    out.section(&code);
                }
                // Part of the section's start.
                Payload::CodeSectionEntry(_) => {}
                other => {
                    if let Some((id, range)) = other.as_section() {
                        out.section(&RawSection { id, data: &wasm[range] });
                    }
                }
            }
        }
        Ok(out.finish())
    }

    /// A section with so many entries more at its end as functions are added.
    fn longer<T>(&self, wasm: &[u8], section: &SectionLimited<'_, T>, added: Vec<u8>) -> Vec<u8> {
        let mut longer = Vec::new();
        (section.count() + self.found.len() as u32).encode(&mut longer);
        longer.extend(&wasm[section.original_position()..section.range().end]);
        longer.extend(added);
        longer
    }

    fn helper(&self, bulk: Bulk) -> Helper {
        let memory = |index: u32| {
            let ty = self.memories.get(index as usize);
            Memory {
                index,
                wide: ty.is_some_and(|ty| ty.memory64),
                page_bits: ty.and_then(|ty| ty.page_size_log2).unwrap_or(16),
            }
        };
        match bulk {
            Bulk::Fill { memory: index } => {
                let to = memory(index);
                Helper { bulk, to, from: Source::Byte, wide: to.wide }
            }
            Bulk::Copy { to, from } => {
                let (to, from) = (memory(to), memory(from));
                Helper { bulk, to, from: Source::Memory(from), wide: to.wide && from.wide }
            }
            Bulk::Init { memory: index, data } => {
                let length = self.data.get(data as usize).copied().unwrap_or_default();
                Helper { bulk, to: memory(index), from: Source::Data(length), wide: false }
            }
        }
    }
}

/// The body with its bulk operations replaced by calls.
fn edited(wasm: &[u8], body: Range<usize>, edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = body.start;
    for Edit { range, function } in edits {
        out.extend(&wasm[at..range.start]);
        InstructionSink::new(&mut out).call(*function);
        at = range.end;
    }
    out.extend(&wasm[at..body.end]);
    out
}

#[derive(Clone, Copy)]
struct Memory {
    index: u32,
    /// Addressed with 64 bits.
    wide: bool,
    page_bits: u32,
}

/// Where what is written comes from.
#[derive(Clone, Copy)]
enum Source {
    Byte,
    Memory(Memory),
    /// A data segment of so many bytes; of none, once it has been dropped.
    Data(u64),
}

/// A function that does a bulk operation in steps: it takes what the instruction takes.
struct Helper {
    bulk: Bulk,
    to: Memory,
    from: Source,
    /// Whether the length has 64 bits.
    wide: bool,
}

// The parameters: where to, from where or which byte, how many.
const TO: u32 = 0;
const FROM: u32 = 1;
const LENGTH: u32 = 2;

impl Helper {
    fn is_from_wide(&self) -> bool {
        matches!(self.from, Source::Memory(Memory { wide: true, .. }))
    }

    /// Its type, as an entry of the section.
    fn ty(&self) -> Vec<u8> {
        const FUNCTION: u8 = 0x60;
        let value = |wide| if wide { 0x7e } else { 0x7f };
        vec![FUNCTION, 3, value(self.to.wide), value(self.is_from_wide()), value(self.wide), 0]
    }

    fn body(&self) -> Function {
        let mut function = Function::new([]);
        let mut code = Code { sink: function.instructions(), helper: self };
        code.sink.block(BlockType::Empty);
        code.leave_unless_long().leave_unless_within();
        match self.from {
            // What lies behind is read before it is overwritten.
            Source::Memory(from) if from.index == self.to.index => {
                code.sink.local_get(TO).local_get(FROM);
                code.greater(self.to.wide);
                code.sink.if_(BlockType::Empty);
                code.backward();
                code.sink.else_();
                code.forward();
                code.sink.end();
            }
            _ => code.forward(),
        }
        code.sink.end();
        // The rest: all of it where it is short, or where the instruction is to trap.
        code.sink.local_get(TO).local_get(FROM).local_get(LENGTH);
        code.instruction();
        code.sink.end();
        function
    }
}

struct Code<'a> {
    sink: InstructionSink<'a>,
    helper: &'a Helper,
}

impl Code<'_> {
    /// The instruction itself.
    fn instruction(&mut self) {
        match self.helper.bulk {
            Bulk::Fill { memory } => self.sink.memory_fill(memory),
            Bulk::Copy { to, from } => self.sink.memory_copy(to, from),
            Bulk::Init { memory, data } => self.sink.memory_init(memory, data),
        };
    }

    fn leave_unless_long(&mut self) -> &mut Self {
        self.is_long();
        self.sink.i32_eqz().br_if(0);
        self
    }

    /// Whether more than a step is left.
    fn is_long(&mut self) {
        self.sink.local_get(LENGTH);
        self.step(self.helper.wide);
        self.greater(self.helper.wide);
    }

    fn leave_unless_within(&mut self) {
        let to = self.helper.to;
        self.leave_unless_room(TO, to.wide, |code| code.size(to));
        match self.helper.from {
            Source::Byte => {}
            Source::Memory(from) => self.leave_unless_room(FROM, from.wide, |code| code.size(from)),
            Source::Data(length) => self.leave_unless_room(FROM, false, |code| {
                code.sink.i64_const(length.cast_signed());
            }),
        }
    }

    /// Leaves unless `length <= size && address <= size - length`.
    fn leave_unless_room(&mut self, address: u32, wide: bool, size: impl Fn(&mut Self)) {
        self.long(LENGTH, self.helper.wide);
        size(self);
        self.sink.i64_gt_u().br_if(0);
        self.long(address, wide);
        size(self);
        self.long(LENGTH, self.helper.wide);
        self.sink.i64_sub().i64_gt_u().br_if(0);
    }

    /// Bytes of a memory, in 64 bits.
    fn size(&mut self, memory: Memory) {
        self.sink.memory_size(memory.index);
        if !memory.wide {
            self.sink.i64_extend_i32_u();
        }
        self.sink.i64_const(memory.page_bits.into()).i64_shl();
    }

    /// A parameter, in 64 bits.
    fn long(&mut self, parameter: u32, wide: bool) {
        self.sink.local_get(parameter);
        if !wide {
            self.sink.i64_extend_i32_u();
        }
    }

    fn forward(&mut self) {
        let Helper { to, from, wide, .. } = *self.helper;
        self.sink.loop_(BlockType::Empty).local_get(TO).local_get(FROM);
        self.step(wide);
        self.instruction();
        self.add_step(TO, to.wide);
        if !matches!(from, Source::Byte) {
            self.add_step(FROM, self.helper.is_from_wide());
        }
        self.subtract_step();
        self.is_long();
        self.sink.br_if(0).end();
    }

    fn backward(&mut self) {
        let wide = self.helper.wide;
        self.sink.loop_(BlockType::Empty);
        self.subtract_step();
        for parameter in [TO, FROM] {
            self.sink.local_get(parameter).local_get(LENGTH);
            self.add(wide);
        }
        self.step(wide);
        self.instruction();
        self.is_long();
        self.sink.br_if(0).end();
    }

    fn add_step(&mut self, parameter: u32, wide: bool) {
        self.sink.local_get(parameter);
        self.step(wide);
        self.add(wide);
        self.sink.local_set(parameter);
    }

    fn subtract_step(&mut self) {
        self.sink.local_get(LENGTH);
        self.step(self.helper.wide);
        match self.helper.wide {
            true => self.sink.i64_sub(),
            false => self.sink.i32_sub(),
        };
        self.sink.local_set(LENGTH);
    }

    fn step(&mut self, wide: bool) {
        match wide {
            true => self.sink.i64_const(STEP.into()),
            false => self.sink.i32_const(STEP.cast_signed()),
        };
    }

    fn add(&mut self, wide: bool) {
        match wide {
            true => self.sink.i64_add(),
            false => self.sink.i32_add(),
        };
    }

    fn greater(&mut self, wide: bool) {
        match wide {
            true => self.sink.i64_gt_u(),
            false => self.sink.i32_gt_u(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use wasmtime::{Config, Engine, Instance, Memory, Module, Store, UpdateDeadline};

    const MIB: u64 = 1 << 20;

    /// Memories of 5 MiB: of 32 bits, of 64, and another of 32.
    const MODULE: &str = r#"(module
        (memory (export "a") 80)
        (memory (export "b") i64 80)
        (memory (export "c") 80)
        (data $data "DATA")
        (func (export "fill a") (param i64 i64 i64)
            (memory.fill 0 (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "fill b") (param i64 i64 i64)
            (memory.fill 1 (local.get 0) (i32.wrap_i64 (local.get 1)) (local.get 2)))
        (func (export "copy a a") (param i64 i64 i64)
            (memory.copy 0 0 (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "copy b b") (param i64 i64 i64)
            (memory.copy 1 1 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy a b") (param i64 i64 i64)
            (memory.copy 0 1 (i32.wrap_i64 (local.get 0)) (local.get 1) (i32.wrap_i64 (local.get 2))))
        (func (export "copy b c") (param i64 i64 i64)
            (memory.copy 1 2 (local.get 0) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "copy c a") (param i64 i64 i64)
            (memory.copy 2 0 (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "init a") (param i64 i64 i64)
            (memory.init 0 $data (i32.wrap_i64 (local.get 0)) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "init b") (param i64 i64 i64)
            (memory.init 1 $data (local.get 0) (i32.wrap_i64 (local.get 1)) (i32.wrap_i64 (local.get 2))))
        (func (export "drop") (param i64 i64 i64)
            (data.drop $data))
    )"#;
    const CALLS: [&str; 10] = [
        "fill a", "fill b", "copy a a", "copy b b", "copy a b", "copy b c", "copy c a", "init a",
        "init b", "drop",
    ];

    fn module() -> Vec<u8> {
        wat::parse_str(MODULE.replace("DATA", &"0123456789abcdef".repeat(3 << 16))).unwrap()
    }

    fn module_in_steps(wasm: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
        of_module(wasm, &mut Added::default())
    }

    struct Running {
        store: Store<()>,
        instance: Instance,
    }

    impl Running {
        fn new(engine: &Engine, wasm: &[u8]) -> Running {
            let module = Module::new(engine, wasm).unwrap();
            let mut store = Store::new(engine, ());
            store.set_epoch_deadline(1);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            Running { store, instance }
        }

        fn memory(&mut self, name: &str) -> Memory {
            self.instance.get_memory(&mut self.store, name).unwrap()
        }

        /// Whether it was done, rather than trapped.
        fn call(&mut self, name: &str, parameters: (u64, u64, u64)) -> bool {
            let function = self.instance.get_typed_func::<_, ()>(&mut self.store, name).unwrap();
            function.call(&mut self.store, parameters).is_ok()
        }
    }

    fn engine() -> Engine {
        Engine::new(Config::new().epoch_interruption(true)).unwrap()
    }

    /// Around the steps, around the ends, and anywhere.
    fn number() -> impl Strategy<Value = u64> {
        let near = |place: u64| (0..3u64).prop_map(move |more| (place + more).saturating_sub(1));
        prop_oneof![
            (0..=6u64).prop_flat_map(move |mib| near(mib * MIB)),
            0..6 * MIB,
            near(u32::MAX.into()),
            near(u64::MAX - 2),
        ]
    }

    fn runs() -> impl Strategy<Value = Vec<(&'static str, (u64, u64, u64))>> {
        let call = (prop::sample::select(&CALLS[..]), (number(), number(), number()));
        prop::collection::vec(call, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn the_steps_do_what_the_instructions_do(runs in runs()) {
            let (engine, wasm) = (engine(), module());
            let stepped = module_in_steps(&wasm).unwrap().expect("there is something to rewrite");
            let (mut one, mut other) = (Running::new(&engine, &wasm), Running::new(&engine, &stepped));
            for running in [&mut one, &mut other] {
                for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
                    let memory = running.memory(name);
                    // No two places of a MiB or more look the same.
                    for (place, byte) in memory.data_mut(&mut running.store).iter_mut().enumerate() {
                        *byte = (place ^ (place >> 8) ^ (place >> 16)).wrapping_add(at) as u8;
                    }
                }
            }
            for (name, parameters) in runs {
                prop_assert_eq!(one.call(name, parameters), other.call(name, parameters), "{}", name);
            }
            for name in ["a", "b", "c"] {
                let (this, that) = (one.memory(name), other.memory(name));
                prop_assert!(this.data(&one.store) == that.data(&other.store), "memory {}", name);
            }
        }
    }

    /// How often the guest could be interrupted.
    fn interruptions(wasm: &[u8], call: &str, parameters: (u64, u64, u64)) -> u32 {
        let engine = engine();
        let mut running = Running::new(&engine, wasm);
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = count.clone();
        running.store.epoch_deadline_callback(move |_| {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // Every look at the epoch finds it over.
            Ok(UpdateDeadline::Continue(0))
        });
        running.store.set_epoch_deadline(0);
        assert!(running.call(call, parameters));
        count.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[test]
    fn a_long_operation_can_be_interrupted_at_each_step() {
        let wasm = module();
        let stepped = module_in_steps(&wasm).unwrap().unwrap();
        for (call, parameters) in [
            ("fill a", (0, 7, 5 * MIB)),
            ("fill b", (0, 7, 5 * MIB)),
            ("copy a a", (0, 1, 5 * MIB - 1)),
            ("copy a a", (1, 0, 5 * MIB - 1)),
            ("copy b c", (0, 0, 5 * MIB)),
            ("init a", (0, 0, 3 * MIB)),
        ] {
            let steps = (parameters.2.div_ceil(MIB) - 1) as u32;
            let before = interruptions(&wasm, call, parameters);
            assert!(interruptions(&stepped, call, parameters) >= before + steps, "{call}");
        }
    }

    #[test]
    fn what_is_short_by_itself_stays_as_it_is() {
        let of = |length| {
            wat::parse_str(format!(
                "(module (memory 1)
                    (func (memory.fill (i32.const 0) (i32.const 0) (i32.const {length}))))"
            ))
        };
        assert_eq!(module_in_steps(&of(STEP).unwrap()).unwrap(), None);
        assert!(module_in_steps(&of(STEP + 1).unwrap()).unwrap().is_some());
        assert_eq!(module_in_steps(&wat::parse_str("(module)").unwrap()).unwrap(), None);
    }

    #[test]
    fn the_modules_of_nested_components_are_rewritten_and_the_rest_is_left() {
        let component = |copies: bool| {
            let copy =
                if copies { "(memory.copy (local.get 0) (local.get 1) (local.get 2))" } else { "" };
            wat::parse_str(format!(
                r#"(component
                    (core module $plain (func (export "f")))
                    (core instance (instantiate $plain))
                    (component $inner
                        (core module $m
                            (memory (export "memory") 1)
                            (func (export "f") (param i32 i32 i32) {copy})
                            (@custom "note" "kept"))
                        (core instance $i (instantiate $m))
                        (func (export "f") (param "a" u32) (param "b" u32) (param "c" u32)
                            (canon lift (core func $i "f"))))
                    (instance $inner (instantiate $inner))
                    (export "f" (func $inner "f")))"#
            ))
            .unwrap()
        };
        assert!(matches!(in_steps(&component(false)).unwrap().unwrap(), Cow::Borrowed(_)));
        let wasm = component(true);
        let stepped = in_steps(&wasm).unwrap().unwrap();
        assert!(matches!(stepped, Cow::Owned(_)));
        assert!(stepped.windows(8).any(|bytes| bytes == b"notekept"));
        wasmtime::component::Component::new(&engine(), &stepped).unwrap();
        // A second time there is something to rewrite as well, and it is still sound.
        wasmtime::component::Component::new(&engine(), in_steps(&stepped).unwrap().unwrap())
            .unwrap();
    }

    #[test]
    fn a_short_data_segment_is_read_at_once() {
        let of = |length: u32| {
            let bytes = "x".repeat(length as usize);
            wat::parse_str(format!(
                "(module (memory 20) (data $data \"{bytes}\")
                    (func (param i32)
                        (memory.init $data (i32.const 0) (i32.const 0) (local.get 0))))"
            ))
        };
        assert_eq!(module_in_steps(&of(STEP).unwrap()).unwrap(), None);
        assert!(module_in_steps(&of(STEP + 1).unwrap()).unwrap().is_some());
    }

    /// A component that copies from each of so many memories to each.
    fn copies(memories: usize) -> Vec<u8> {
        let copy = |at: usize| {
            let (to, from) = (at / memories, at % memories);
            format!("(memory.copy {to} {from} (local.get 0) (local.get 0) (local.get 0))")
        };
        let body: String = (0..memories * memories).map(copy).collect();
        let memories = "(memory 0)".repeat(memories);
        wat::parse_str(format!("(component (core module {memories} (func (param i32) {body})))"))
            .unwrap()
    }

    #[test]
    fn too_many_kinds_of_operations_are_refused() {
        let (some, too_many) = (copies(10), copies(101));
        assert!(matches!(in_steps(&some).unwrap(), Ok(Cow::Owned(_))));
        assert_eq!(in_steps(&too_many).unwrap(), Err(TooLarge::Bulk));
    }

    #[test]
    fn what_is_not_sound_is_left_to_the_compiler() {
        let of = |text: &str| wat::parse_str(text).unwrap();
        let wasm = of(
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (local.get 9))))",
        );
        let stepped = module_in_steps(&wasm).unwrap().unwrap();
        assert!(Module::new(&engine(), stepped).is_err());
    }
}
