//! What a person sees: a spinner on a terminal, plain lines otherwise.

use std::io::Write;
use std::time::Duration;

use copepod_sdk::dev::DevEvent;
use copepod_sdk::logs::Line;
use indicatif::{ProgressBar, ProgressStyle};

/// The display of `copepod dev` and `copepod run`. Indicatif hides the spinner where stderr is no
/// terminal; the lines on stdout are the same in both cases.
pub struct Progress {
    spinner: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        Self { spinner: ProgressBar::hidden() }
    }

    pub fn show(&mut self, event: DevEvent) {
        match event {
            DevEvent::Starting => self.wait("starting the cluster"),
            DevEvent::Started { kubeconfig, took } => self.say(&format!(
                "cluster ready in {}; KUBECONFIG={}",
                milliseconds(took),
                kubeconfig.display()
            )),
            DevEvent::Building => self.wait("building"),
            DevEvent::Built { guests, took } => {
                self.say(&format!("built {} in {}", guests.join(", "), milliseconds(took)));
                self.wait("deploying");
            }
            DevEvent::Applied { objects } if objects.is_empty() => {}
            DevEvent::Applied { objects } => self.tell(&format!("applied {}", objects.join(", "))),
            DevEvent::Ready { urls, took } => {
                self.say(&format!("ready in {}", milliseconds(took)));
                for url in urls {
                    self.say(&format!("  {url}"));
                }
            }
            DevEvent::NotReady { why } => self.say(&format!("not ready: {why}")),
            DevEvent::Log(line) => self.log(&line),
            DevEvent::Changed => self.tell("files changed"),
            DevEvent::Failed { error } => self.say(&format!("failed: {error}")),
        }
    }

    /// Spins until the next [`Self::say`].
    pub fn wait(&mut self, what: &str) {
        self.spinner.finish_and_clear();
        self.spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            self.spinner.set_style(style);
        }
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    /// A guest's line, told while the spinner goes on.
    pub fn log(&self, line: &Line) {
        self.tell(&log_line(line));
    }

    /// Says what ends the waiting.
    fn say(&self, text: &str) {
        self.spinner.finish_and_clear();
        line(format_args!("{text}"));
    }

    fn tell(&self, text: &str) {
        self.spinner.suspend(|| line(format_args!("{text}")));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// Prints a line on stdout. Whoever read it may have gone (`copepod dev … | head`): the work goes on.
pub fn line(text: std::fmt::Arguments<'_>) {
    writeln!(std::io::stdout(), "{text}").ok();
}

/// A log line with its origin.
fn log_line(line: &Line) -> String {
    format!("{} | {}", line.pod, line.text)
}

fn milliseconds(took: Duration) -> String {
    if took < Duration::from_secs(10) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
