//! KV blocks with their content: shared by prefix, kept after use, given up least recently used first.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Debug, Clone, Copy)]
struct Cached {
    users: u32,
    /// Key among the unused ones, when nobody uses it.
    unused_since: u64,
}

/// Names of content are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The blocks of one engine. Content is named by a hash of all tokens up to the block's end.
#[derive(Debug)]
pub(super) struct BlockPool {
    total: u64,
    /// Whether content is kept at all; if not, blocks are only counted.
    is_caching: bool,
    in_use: u64,
    cached: HashMap<u64, Cached, BuildHasherDefault<AsIs>>,
    /// Blocks that hold something nobody uses, in the order they were freed.
    unused: BTreeMap<u64, u64>,
    releases: u64,
}

impl BlockPool {
    /// A block whose content nobody can find.
    pub(super) const PRIVATE: u64 = 0;

    pub(super) fn new(total: u64, is_caching: bool) -> Self {
        Self { total, is_caching, in_use: 0, cached: HashMap::default(), unused: BTreeMap::new(), releases: 0 }
    }

    /// Share of the blocks in use, 0 to 1.
    pub(super) fn usage(&self) -> f64 {
        self.in_use as f64 / self.total.max(1) as f64
    }

    /// Blocks that can be given out, those with cached content included.
    pub(super) fn free(&self) -> u64 {
        self.total - self.in_use
    }

    /// The longest run of cached blocks that `hashes` begins with.
    pub(super) fn find(&self, hashes: impl Iterator<Item = u64>) -> Vec<u64> {
        hashes.take_while(|hash| self.cached.contains_key(hash)).collect()
    }

    /// How many of the cached blocks `hashes` nobody uses: sharing them lessens [`Self::free`] by that.
    pub(super) fn unused_among(&self, hashes: &[u64]) -> u64 {
        hashes.iter().filter(|hash| self.cached.get(hash).is_some_and(|block| block.users == 0)).count() as u64
    }

    /// Adds a user to each of the cached blocks `hashes`.
    pub(super) fn share(&mut self, hashes: &[u64]) {
        for hash in hashes {
            let Some(block) = self.cached.get_mut(hash) else { continue };
            if block.users == 0 {
                self.unused.remove(&block.unused_since);
                self.in_use += 1;
            }
            block.users += 1;
        }
    }

    /// Takes `count` free blocks, giving up cached content that was unused for longest if need be.
    pub(super) fn allocate(&mut self, count: u64) {
        self.in_use += count;
        while self.in_use + self.unused.len() as u64 > self.total {
            let Some((_, hash)) = self.unused.pop_first() else { return };
            self.cached.remove(&hash);
        }
    }

    /// Makes the content of a block in use findable; false if another block has the same content already.
    pub(super) fn publish(&mut self, hash: u64) -> bool {
        let is_new = !self.cached.contains_key(&hash);
        if is_new {
            self.cached.insert(hash, Cached { users: 1, unused_since: 0 });
        }
        is_new
    }

    /// Takes a user from each block, last block first, so that the beginning of a prompt stays longest.
    pub(super) fn release(&mut self, blocks: &[u64]) {
        if !self.is_caching {
            self.in_use -= blocks.len() as u64;
            return;
        }
        for hash in blocks.iter().rev() {
            if let Some(block) = self.cached.get_mut(hash) {
                block.users -= 1;
                if block.users > 0 {
                    continue;
                }
                block.unused_since = self.releases + 1;
            }
            // As in vLLM a private block takes its turn among the others before it is used again.
            self.releases += 1;
            self.unused.insert(self.releases, *hash);
            self.in_use -= 1;
        }
    }
}
