use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::ZERO;

fn pool(total: u32) -> (BlockPool, BlockTimes) {
    (BlockPool::new(total, Some(1.0)), BlockTimes::default())
}

fn take(pool: &mut BlockPool, times: &mut BlockTimes, hashes: &[u64]) -> Vec<BlockId> {
    let blocks: Vec<BlockId> = hashes.iter().map(|_| pool.allocate(NOW, times).expect("free block")).collect();
    for (id, hash) in blocks.iter().zip(hashes) {
        pool.publish(*id, *hash);
    }
    blocks
}

#[test]
fn one_block_is_set_aside_and_usage_counts_the_others() {
    let (mut pool, mut times) = pool(40);
    assert_eq!(pool.free(), 39);
    take(&mut pool, &mut times, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert!((pool.usage() - 0.205_128_205_128_205_12).abs() < 1e-12);
}

#[test]
fn a_released_prefix_is_found_until_its_blocks_are_needed_and_its_end_goes_first() {
    let (mut pool, mut times) = pool(5);
    let blocks = take(&mut pool, &mut times, &[11, 12, 13]);
    pool.release(&blocks);
    assert_eq!(pool.find(&[11, 12, 13, 14]), blocks);
    take(&mut pool, &mut times, &[21]);
    assert_eq!(pool.find(&[11, 12, 13]).len(), 3, "the block never used goes out first");
    take(&mut pool, &mut times, &[22]);
    assert_eq!(pool.find(&[11, 12, 13]).len(), 2, "then the end of the released prefix");
    assert_eq!(times.lifetime.count(), 1);
}

#[test]
fn a_shared_block_stays_until_its_last_user_is_gone() {
    let (mut pool, mut times) = pool(3);
    let blocks = take(&mut pool, &mut times, &[1]);
    pool.share(blocks[0], NOW);
    pool.release(&blocks);
    assert_eq!(pool.free(), 1);
    pool.release(&blocks);
    assert_eq!((pool.free(), pool.unused_among(&blocks)), (2, 1));
}

#[test]
fn an_exhausted_pool_gives_nothing_and_a_reset_waits_for_its_users() {
    let (mut pool, mut times) = pool(3);
    let blocks = take(&mut pool, &mut times, &[1, 2]);
    assert_eq!(pool.allocate(NOW, &mut times), None);
    assert!(!pool.reset());
    pool.release(&blocks);
    assert!(pool.reset());
    assert!(pool.find(&[1]).is_empty());
}

proptest! {
    /// Whatever is taken, shared and released, the count of free blocks is right and no block is given out twice.
    #[test]
    fn blocks_are_neither_lost_nor_given_out_twice(choices in proptest::collection::vec((0u8..3, 0u64..12), 1..300)) {
        let (mut pool, mut times) = pool(9);
        let mut held: Vec<BlockId> = Vec::new();
        for (choice, hash) in choices {
            match choice {
                0 => if let Some(id) = pool.allocate(NOW, &mut times) {
                    prop_assert!(!held.contains(&id));
                    pool.publish(id, hash + 1);
                    held.push(id);
                },
                1 => if let Some(id) = pool.find(&[hash + 1]).first() {
                    pool.share(*id, NOW);
                    held.push(*id);
                },
                _ => if let Some(id) = held.pop() { pool.release(&[id]) },
            }
            let mut distinct = held.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(pool.free() as usize, 8 - distinct.len());
        }
    }
}
