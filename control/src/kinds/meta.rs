//! What all kinds share: names, labels, annotations, ages.
