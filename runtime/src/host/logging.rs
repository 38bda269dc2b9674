//! `wasi:logging/logging`: each message is one line of the container's standard error, `LEVEL context: message`.

use super::{Host, Interface};
use crate::context::Ctx;
use crate::output::OutputStream;

mod bindings {
    wasmtime::component::bindgen!({ path: "wit/logging", world: "wasi:logging/imports", imports: { default: async } });
}

use bindings::wasi::logging::logging::{self, Level};

pub(super) const LOGGING: Interface = Interface {
    name: "wasi:logging/logging",
    version: "0.1.0-draft",
    add: |linker| {
        logging::add_to_linker::<_, wasmtime::component::HasSelf<_>>(linker, |ctx: &mut Ctx| {
            &mut ctx.host
        })
    },
};

impl logging::Host for Host {
    async fn log(&mut self, level: Level, context: String, message: String) {
        self.setup.output.ready().await;
        let line = line(level, &context, &message);
        self.setup.output.write(OutputStream::Stderr, line.as_bytes());
    }
}

/// Line breaks within are escaped: a guest cannot make two lines of one.
fn line(level: Level, context: &str, message: &str) -> String {
    let level = match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    };
    let separator = if context.is_empty() { "" } else { ": " };
    let said = format!("{context}{separator}{}", message.trim_end_matches(['\r', '\n']));
    let said = said.replace('\r', "\\r").replace('\n', "\\n");
    format!("{level} {said}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line(Level::Info, "db", "opened\n"), "INFO db: opened\n");
        assert_eq!(line(Level::Warn, "", "a\nb"), "WARN a\\nb\n");
        assert_eq!(line(Level::Error, "x\ny", "z"), "ERROR x\\ny: z\n");
    }
}
