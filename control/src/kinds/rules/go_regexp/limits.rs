//! What Go limits of a regular expression: its height, its size, and how often a part is repeated.

/// What Go limits of a part.
#[derive(Clone, Copy, Default)]
pub struct Weight {
    pub height: u32,
    /// The greatest product of counts within each other.
    pub repeats: u32,
    pub size: u64,
}

impl Weight {
    pub const ONE: Self = Self { height: 1, repeats: 1, size: 1 };

    /// Beside each other.
    pub fn and(self, other: Self) -> Self {
        Self {
            height: self.height.max(other.height),
            repeats: self.repeats.max(other.repeats),
            size: self.size + other.size,
        }
    }

    pub fn within(self, size: u64) -> Self {
        Self { height: self.height + 1, size: self.size + size, ..self }
    }

    /// Go counts the copies that it makes: those that must be, and those that may.
    pub fn repeated(self, min: u32, max: Option<u32>) -> Self {
        let must = u64::from(min) * self.size;
        let size = match max {
            None => must + 1 + u64::from(min == 0),
            Some(max) => must + u64::from(max - min) * (1 + self.size),
        };
        let repeats = max.unwrap_or(min).saturating_mul(self.repeats).max(1);
        Self { height: self.height + 1, repeats, size: size.max(1) }
    }
}

#[derive(Default)]
pub struct Group {
    /// The alternatives before this one, and how many there are.
    others: Weight,
    alternatives: u32,
    /// What stands before the last part, and how many parts that are.
    before: Weight,
    parts: u32,
    /// What an operator would repeat.
    pub last: Option<Weight>,
    is_capture: bool,
}

impl Group {
    pub fn new(is_capture: bool) -> Self {
        Self { is_capture, ..Self::default() }
    }

    pub fn push(&mut self, part: Weight) {
        if let Some(last) = self.last.replace(part) {
            // Letters beside each other are one part.
            let is_text = |part: Weight| part.height <= 1;
            let joins = self.parts > 0 && is_text(self.before) && is_text(last);
            self.parts += u32::from(!joins);
            self.before = self.before.and(last);
        }
    }

    pub fn end_alternative(&mut self) {
        let parts = self.parts + u32::from(self.last.is_some());
        let all = self.before.and(self.last.take().unwrap_or_default());
        let is_text = all.height <= 1;
        let whole = if parts > 1 && !is_text { all.within(0) } else { all };
        self.others = self.others.and(whole);
        self.alternatives += 1;
        (self.before, self.parts) = (Weight::default(), 0);
    }

    pub fn end(mut self) -> Weight {
        self.end_alternative();
        let mut whole = self.others;
        if self.alternatives > 1 {
            whole = whole.within(u64::from(self.alternatives) - 1);
        }
        if self.is_capture { whole.within(2) } else { whole }
    }
}
