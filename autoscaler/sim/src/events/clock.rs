//! Which engine's event comes first.

/// A tournament over the next event of each engine: reading the winner is free, changing one time costs log₂ of their
/// number.
#[derive(Debug)]
pub(super) struct Tournament {
    /// Winner of each match and its time, the final at 1; the second half are the players.
    matches: Vec<(f64, u32)>,
}

impl Tournament {
    pub(super) fn new() -> Self {
        Self { matches: vec![(f64::INFINITY, 0); 2] }
    }

    /// Who is first, and when; infinite when nobody has an event.
    pub(super) fn first(&self) -> (usize, f64) {
        let (seconds, winner) = self.matches[1];
        (winner as usize, seconds)
    }

    /// Sets the next event of `player`.
    pub(super) fn set(&mut self, player: usize, seconds: f64) {
        if player >= self.matches.len() / 2 {
            self.grow(player + 1);
        }
        let mut node = self.matches.len() / 2 + player;
        self.matches[node].0 = seconds;
        while node > 1 {
            node /= 2;
            let winner = self.play(node);
            // A match that the player lost, before and now: nothing changes above it.
            if winner.1 == self.matches[node].1 && winner.1 as usize != player {
                return;
            }
            self.matches[node] = winner;
        }
    }

    fn play(&self, node: usize) -> (f64, u32) {
        let (left, right) = (self.matches[2 * node], self.matches[2 * node + 1]);
        if right.0 < left.0 { right } else { left }
    }

    fn grow(&mut self, players: usize) {
        let (size, before) = (players.next_power_of_two(), self.matches.len() / 2);
        let mut grown: Vec<(f64, u32)> = (0..2 * size).map(|leaf| (f64::INFINITY, (leaf % size) as u32)).collect();
        grown[size..size + before].copy_from_slice(&self.matches[before..]);
        self.matches = grown;
        for node in (1..size).rev() {
            self.matches[node] = self.play(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_always_the_least(changes in prop::collection::vec((0_usize..40, 0_u32..1000), 1..200)) {
            let mut tournament = Tournament::new();
            let mut plain = vec![f64::INFINITY; 40];
            for (player, seconds) in changes {
                let seconds = if seconds < 100 { f64::INFINITY } else { f64::from(seconds) };
                plain[player] = seconds;
                tournament.set(player, seconds);
                let least = plain.iter().copied().fold(f64::INFINITY, f64::min);
                let (first, at) = tournament.first();
                prop_assert_eq!(at.to_bits(), least.to_bits());
                prop_assert!(at.is_infinite() || plain[first].to_bits() == at.to_bits());
            }
        }
    }
}
