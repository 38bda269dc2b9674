//! Shuffle sharding: a hash deals a hand of different queues.
//!
//! Source: `k8s.io/apiserver/pkg/util/shufflesharding`.

/// As many bits of a hash are used at most.
pub const HASH_BITS_MAX: u32 = 60;

/// The most cards of a hand: of a deck of fifteen or sixteen, within the bits.
pub const HAND_MAX: usize = 15;

/// The bits that tell all hands of this size apart.
pub fn entropy_bits(deck: usize, hand: usize) -> u32 {
    ((deck as f64).log2() * hand as f64).ceil() as u32
}

/// Whether hands of this size can be dealt of such a deck.
pub fn can_deal(deck: usize, hand: usize) -> bool {
    (1..=deck.min(HAND_MAX)).contains(&hand) && entropy_bits(deck, hand) <= HASH_BITS_MAX
}

/// Deals: each card is below `deck`, and no card comes twice. Nothing is allocated.
pub fn deal(hash: u64, deck: usize, hand: usize, mut pick: impl FnMut(usize)) {
    let (mut rest, mut places) = (hash, [0; HAND_MAX]);
    for (dealt, place) in places.iter_mut().enumerate().take(hand) {
        // The place among the cards that are left.
        let left = (deck - dealt) as u64;
        *place = (rest % left) as usize;
        rest /= left;
    }
    for dealt in 0..hand {
        let earlier = places[..dealt].iter().rev();
        let card =
            earlier.fold(places[dealt], |card, place| if card >= *place { card + 1 } else { card });
        pick(card);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hash_deals_its_hand() {
        let hand = |hash: u64, deck: usize, size: usize| {
            let mut cards = Vec::new();
            deal(hash, deck, size, |card| cards.push(card));
            cards
        };
        assert_eq!(hand(6, 5, 5), [1, 2, 0, 3, 4]);
        assert_eq!(hand(123_456_789, 128, 1), [123_456_789 % 128]);
        assert_eq!(hand(0, 8, 3), [0, 1, 2]);
    }

    #[test]
    fn bits_grow_with_deck_and_hand() {
        for (deck, hand, bits) in [(64, 6, 36), (128, 6, 42), (16, 15, 60), (1, 1, 0), (64, 8, 48)]
        {
            assert_eq!(entropy_bits(deck, hand), bits, "{hand} of {deck}");
        }
        assert!(can_deal(128, 6) && can_deal(1, 1));
        assert!(!can_deal(128, 0) && !can_deal(4, 5) && !can_deal(1024, 7));
    }

    proptest! {
        #[test]
        fn no_card_comes_twice(hash: u64, deck in 1usize..200, hand in 1usize..9) {
            prop_assume!(can_deal(deck, hand));
            let mut seen = std::collections::BTreeSet::new();
            deal(hash, deck, hand, |card| {
                assert!(card < deck);
                seen.insert(card);
            });
            prop_assert_eq!(seen.len(), hand);
        }
    }
}
