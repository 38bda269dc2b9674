//! What a person sees: a spinner on a terminal, plain lines otherwise.

use std::time::Duration;

use copepod_sdk::dev::DevEvent;
use copepod_sdk::logs::Line;
use indicatif::{ProgressBar, ProgressStyle};

/// The display of `copepod dev`. Indicatif hides the spinner where stderr is no terminal; the lines
/// on stdout are the same in both cases.
pub struct Progress {
    spinner: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        let spinner = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        Self { spinner }
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
            DevEvent::Applied { objects } => self.say(&format!("applied {}", objects.join(", "))),
            DevEvent::Ready { urls, took } => {
                self.spinner.reset();
                self.say(&format!("ready in {}", milliseconds(took)));
                for url in urls {
                    self.say(&format!("  {url}"));
                }
            }
            DevEvent::NotReady { why } => self.say(&format!("not ready: {why}")),
            DevEvent::Log(line) => self.say(&log_line(&line)),
            DevEvent::Changed => self.say("files changed"),
            DevEvent::Failed { error } => self.say(&format!("failed: {error}")),
        }
    }

    fn wait(&self, what: &str) {
        self.spinner.reset();
        self.spinner.set_message(what.to_owned());
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    fn say(&self, text: &str) {
        self.spinner.disable_steady_tick();
        self.spinner.suspend(|| println!("{text}"));
    }
}

/// A log line with its origin.
pub fn log_line(line: &Line) -> String {
    format!("{} | {}", line.pod, line.text)
}

fn milliseconds(took: Duration) -> String {
    if took < Duration::from_secs(10) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}
