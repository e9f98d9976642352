//! The KV cache: a pool of blocks, shared by prefix, evicted least recently used first.
//!
//! As in vLLM, one block is set aside, blocks that were never used go out before any cached one is evicted, and a
//! freed sequence gives its last block back first, so that the beginning of a prompt stays longest.

use std::collections::HashMap;
use std::time::Duration;

use crate::stats::BlockTimes;
use crate::tokens::mix;

/// A block's number.
pub(crate) type BlockId = u32;
const NONE: BlockId = BlockId::MAX;

#[derive(Debug, Clone, Copy)]
struct Block {
    /// Hash of the tokens up to the block's end; 0 when it can not be shared.
    hash: u64,
    users: u32,
    previous: BlockId,
    next: BlockId,
}

/// When a sampled block was born and used.
#[derive(Debug)]
struct Watched {
    born: Duration,
    uses: Vec<Duration>,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct BlockPool {
    /// Blocks used so far; the others exist only as a number.
    blocks: Vec<Block>,
    usable: u32,
    in_use: u32,
    cached: HashMap<u64, BlockId>,
    oldest_free: BlockId,
    newest_free: BlockId,
    sample: Option<f64>,
    watched: HashMap<BlockId, Watched>,
}

impl BlockPool {
    /// A pool of `total` blocks, one of which is never given out. `sample` is the share of blocks whose lives are
    /// measured, if any.
    pub(crate) fn new(total: u32, sample: Option<f64>) -> Self {
        Self {
            blocks: Vec::new(),
            usable: total.saturating_sub(1),
            in_use: 0,
            cached: HashMap::new(),
            oldest_free: NONE,
            newest_free: NONE,
            sample,
            watched: HashMap::new(),
        }
    }

    /// Share of the pool in use by sequences, 0 to 1.
    pub(crate) fn usage(&self) -> f64 {
        if self.usable == 0 { 0.0 } else { f64::from(self.in_use) / f64::from(self.usable) }
    }

    /// Blocks that can be given out, those with cached content included.
    pub(crate) fn free(&self) -> u32 {
        self.usable - self.in_use
    }

    /// The longest run of cached blocks that `hashes` begins with.
    pub(crate) fn find(&self, hashes: &[u64]) -> Vec<BlockId> {
        hashes.iter().map_while(|hash| self.cached.get(hash).copied()).collect()
    }

    /// How many of `blocks` nobody uses: taking them lessens [`Self::free`] by that.
    pub(crate) fn unused_among(&self, blocks: &[BlockId]) -> u32 {
        blocks.iter().map(|id| u32::from(self.blocks[*id as usize].users == 0)).sum()
    }

    /// Adds a user to a cached block.
    pub(crate) fn share(&mut self, id: BlockId, now: Duration) {
        if self.blocks[id as usize].users == 0 {
            self.unlink(id);
            self.in_use += 1;
        }
        self.blocks[id as usize].users += 1;
        if let Some(watched) = self.watched.get_mut(&id) {
            if watched.uses.len() == 4 {
                watched.uses.remove(0);
            }
            watched.uses.push(now);
        }
    }

    /// Gives out a block, evicting the cached content that was unused for longest if need be.
    pub(crate) fn allocate(&mut self, now: Duration, times: &mut BlockTimes) -> Option<BlockId> {
        let fresh = self.blocks.len() as u32;
        let id = if fresh < self.usable {
            self.blocks.push(Block { hash: 0, users: 0, previous: NONE, next: NONE });
            fresh
        } else if self.oldest_free != NONE {
            let id = self.oldest_free;
            self.unlink(id);
            self.evict(id, now, times);
            id
        } else {
            return None;
        };
        self.blocks[id as usize].users = 1;
        self.in_use += 1;
        if self.sample.is_some_and(|share| sampled(id, now, share)) {
            self.watched.insert(id, Watched { born: now, uses: Vec::new() });
        }
        Some(id)
    }

    /// Makes a block's content findable.
    pub(crate) fn publish(&mut self, id: BlockId, hash: u64) {
        self.blocks[id as usize].hash = hash;
        self.cached.entry(hash).or_insert(id);
    }

    /// Takes a user from each block, last block first.
    pub(crate) fn release(&mut self, blocks: &[BlockId]) {
        for id in blocks.iter().rev() {
            let block = &mut self.blocks[*id as usize];
            block.users -= 1;
            if block.users == 0 {
                self.in_use -= 1;
                self.link_newest(*id);
            }
        }
    }

    /// Forgets all cached content. False, and nothing done, while blocks are in use.
    pub(crate) fn reset(&mut self) -> bool {
        if self.in_use > 0 {
            return false;
        }
        self.cached.clear();
        self.watched.clear();
        self.blocks.iter_mut().for_each(|block| block.hash = 0);
        true
    }

    fn evict(&mut self, id: BlockId, now: Duration, times: &mut BlockTimes) {
        let hash = std::mem::take(&mut self.blocks[id as usize].hash);
        let watched = self.watched.remove(&id);
        if hash == 0 {
            return;
        }
        if self.cached.get(&hash) == Some(&id) {
            self.cached.remove(&hash);
        }
        let Some(watched) = watched else { return };
        let last = watched.uses.last().copied().unwrap_or(watched.born);
        times.lifetime.observe((now - watched.born).as_secs_f64());
        times.idle_before_evict.observe((now - last).as_secs_f64());
        for pair in watched.uses.windows(2) {
            times.reuse_gap.observe((pair[1] - pair[0]).as_secs_f64());
        }
    }

    fn link_newest(&mut self, id: BlockId) {
        let newest = self.newest_free;
        let block = &mut self.blocks[id as usize];
        (block.previous, block.next) = (newest, NONE);
        if newest == NONE {
            self.oldest_free = id;
        } else {
            self.blocks[newest as usize].next = id;
        }
        self.newest_free = id;
    }

    fn unlink(&mut self, id: BlockId) {
        let Block { previous, next, .. } = self.blocks[id as usize];
        if previous == NONE {
            self.oldest_free = next;
        } else {
            self.blocks[previous as usize].next = next;
        }
        if next == NONE { self.newest_free = previous } else { self.blocks[next as usize].previous = previous }
    }
}

/// Whether a block's life is measured: decided by a hash, so that runs repeat.
fn sampled(id: BlockId, now: Duration, share: f64) -> bool {
    let draw = mix(u64::from(id) ^ (now.as_nanos() as u64).rotate_left(32)) >> 11;
    (draw as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
