//! Which engine's event comes first.

/// A tournament over the next event of each engine: reading the winner is free, changing one time costs log₂ of their
/// number.
#[derive(Debug)]
pub(super) struct Tournament {
    seconds: Vec<f64>,
    /// Winner of each match, the final at 1; the players are the leaves, from `seconds.len()` on.
    winners: Vec<u32>,
}

impl Tournament {
    pub(super) fn new() -> Self {
        Self { seconds: vec![f64::INFINITY], winners: vec![0, 0] }
    }

    /// Who is first, and when; infinite when nobody has an event.
    pub(super) fn first(&self) -> (usize, f64) {
        let winner = self.winners[1] as usize;
        (winner, self.seconds[winner])
    }

    /// Sets the next event of `player`.
    pub(super) fn set(&mut self, player: usize, seconds: f64) {
        if player >= self.seconds.len() {
            self.grow(player + 1);
        }
        self.seconds[player] = seconds;
        let mut node = (self.seconds.len() + player) / 2;
        while node >= 1 {
            let winner = self.play(node);
            // A match that the player lost, before and now: nothing changes above it.
            if winner == self.winners[node] && winner as usize != player {
                return;
            }
            self.winners[node] = winner;
            node /= 2;
        }
    }

    fn play(&self, node: usize) -> u32 {
        let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
        if self.seconds[right as usize] < self.seconds[left as usize] { right } else { left }
    }

    fn grow(&mut self, players: usize) {
        let size = players.next_power_of_two();
        self.seconds.resize(size, f64::INFINITY);
        self.winners = vec![0; size];
        self.winners.extend(0..size as u32);
        for node in (1..size).rev() {
            self.winners[node] = self.play(node);
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
