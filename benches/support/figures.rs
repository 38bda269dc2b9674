//! What a bench found: a line as soon as it is known, a table at the end. This module measures nothing.

use std::fmt::Display;
use std::time::Duration;

/// One row: a value, what it is held against in the same run, and what is aimed at.
pub struct Figure {
    name: String,
    value: String,
    baseline: String,
    ratio: String,
    target: String,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: impl Display) -> Figure {
        let none = || "–".to_owned();
        Figure {
            name: name.into(),
            value: value.to_string(),
            baseline: none(),
            ratio: none(),
            target: none(),
        }
    }

    /// What the value is compared with, and the value's ratio to it.
    #[must_use]
    pub fn against(mut self, baseline: impl Display, ratio: f64) -> Figure {
        self.baseline = baseline.to_string();
        self.ratio = format!("{ratio:.2}");
        self
    }

    #[must_use]
    pub fn target(mut self, target: impl Display) -> Figure {
        self.target = target.to_string();
        self
    }
}

#[derive(Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Prints the figure and keeps it for the table.
    pub fn add(&mut self, figure: Figure) {
        let Figure { name, value, baseline, ratio, target } = &figure;
        println!("{name}: {value} | baseline {baseline} | ratio {ratio} | target {target}");
        self.0.push(figure);
    }

    /// Prints all figures as a Markdown table.
    pub fn print_table(&self) {
        println!("\n| figure | value | baseline in the run | ratio | target |");
        println!("|---|---|---|---|---|");
        for Figure { name, value, baseline, ratio, target } in &self.0 {
            println!("| {name} | {value} | {baseline} | {ratio} | {target} |");
        }
    }
}

/// A duration in the unit that suits it, three digits or so.
pub fn time(duration: Duration) -> String {
    let us = duration.as_secs_f64() * 1e6;
    match us {
        us if us < 100.0 => format!("{us:.1} µs"),
        us if us < 1_000.0 => format!("{us:.0} µs"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// The value that the fraction `quantile` of the samples does not exceed; `NaN`s sort last.
pub fn quantile(samples: &[f64], quantile: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let place = (last as f64 * quantile).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}
