//! The watch cache: one per kind, fed by the store's watch alone.

/// All kinds' caches.
pub struct Caches;
