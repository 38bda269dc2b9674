//! What 10,000 objects hold in the memory of the process.

use anyhow::Context;

use crate::figures::{Figure, Figures};
use crate::requests;
use crate::up::Up;

const OBJECTS: usize = 10_000;

pub async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    let up = Up::fresh().await?;
    let before = up.memory_at_rest().await?;
    requests::fill(&up.client, OBJECTS).await.context("create the objects")?;
    let after = up.memory_at_rest().await?;
    let each = (after.resident - before.resident) * 1024.0 / OBJECTS as f64;
    figures.add(
        Figure::new(format!("memory with {OBJECTS} ConfigMaps of 256 B"), &after)
            .against(&before, after.resident / before.resident),
    );
    figures.add(Figure::new("each of them", format!("{each:.1} KiB")));
    up.stop().await
}
