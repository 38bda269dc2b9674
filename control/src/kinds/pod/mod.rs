//! Pods, and the templates that workloads make pods of.

pub mod template;
