use super::*;

const MS: Duration = Duration::from_millis(1);

fn config() -> SchedulerConfig {
    SchedulerConfig {
        max_num_seqs: 4,
        max_num_batched_tokens: 64,
        max_model_len: 512,
        block_size: 16,
        num_blocks: 101,
        prefix_caching: true,
        max_num_queued_reqs: None,
        step: StepTime::from_milliseconds(10.0, 0.0, 0.0, 0.0),
        time_scale: 1.0,
        kv_sample: None,
    }
}

fn request(first: u32, prompt_tokens: u32, output_tokens: u32) -> NewRequest {
    let mut prompt = Chain::new(16, 0);
    (0..prompt_tokens).for_each(|token| prompt.push(first * 10_000 + token));
    NewRequest {
        arrived: Duration::ZERO,
        prompt,
        output_tokens,
        max_tokens: output_tokens,
        finish: FinishReason::Length,
        seed: u64::from(first),
    }
}

pub(super) fn run_until_idle(scheduler: &mut Scheduler) -> Vec<Progress> {
    let mut progress = Vec::new();
    while let Some(end) = scheduler.next_event() {
        scheduler.advance(end, &mut progress);
    }
    progress
}

#[test]
fn without_work_there_is_no_step_and_after_it_none_again() {
    let mut scheduler = Scheduler::new(config());
    assert_eq!(scheduler.next_event(), None);
    let id = scheduler.submit(5 * MS, request(1, 10, 3)).expect("room");
    assert_eq!(scheduler.next_event(), Some(15 * MS));
    let progress = run_until_idle(&mut scheduler);
    let emitted: Vec<u32> = progress.iter().map(|one| one.emitted).collect();
    assert_eq!(emitted, [1, 2, 3]);
    assert_eq!(progress[2], Progress { id, emitted: 3, cached_tokens: 0, finished: Some(FinishReason::Length) });
    assert_eq!((scheduler.next_event(), scheduler.kv_usage().to_bits()), (None, 0.0_f64.to_bits()));
}

#[test]
fn many_steps_are_taken_at_one_tick_each_at_its_own_time() {
    let mut scheduler = Scheduler::new(SchedulerConfig { time_scale: 100.0, ..config() });
    scheduler.submit(Duration::ZERO, request(1, 10, 50)).expect("room");
    let mut progress = Vec::new();
    scheduler.advance(MS, &mut progress);
    assert_eq!(progress.len(), 10, "ten steps of 0.1 ms in a millisecond");
    run_until_idle(&mut scheduler);
    assert!((scheduler.stats().decode.sum() - 0.0049).abs() < 1e-9);
}

#[test]
fn the_fifth_waits_for_a_place_and_the_order_of_arrival_is_kept() {
    let mut scheduler = Scheduler::new(config());
    let ids: Vec<RequestId> =
        (1..=5).map(|first| scheduler.submit(Duration::ZERO, request(first, 8, 4)).expect("room")).collect();
    let mut progress = Vec::new();
    scheduler.advance(10 * MS, &mut progress);
    assert_eq!((scheduler.running(), scheduler.waiting()), (4, 1));
    progress.extend(run_until_idle(&mut scheduler));
    let finished: Vec<RequestId> = progress.iter().filter(|one| one.finished.is_some()).map(|one| one.id).collect();
    assert_eq!(finished, ids);
    // Arrived at 0, four begin at 10 ms at the latest, the fifth when the first ends at 40 ms.
    assert!((scheduler.stats().queue.sum() - (0.0 + 3.0 * 0.010 + 0.040)).abs() < 1e-9);
}

#[test]
fn a_prompt_longer_than_the_budget_is_computed_in_chunks_beside_decoding_ones() {
    let mut scheduler = Scheduler::new(config());
    scheduler.submit(Duration::ZERO, request(1, 8, 20)).expect("room");
    let mut progress = Vec::new();
    scheduler.advance(10 * MS, &mut progress);
    let long = scheduler.submit(11 * MS, request(2, 150, 2)).expect("room");
    progress.extend(run_until_idle(&mut scheduler));
    let first_token = progress.iter().position(|one| one.id == long).expect("served");
    let others = progress[..first_token].iter().filter(|one| one.id != long).count();
    // Step 2 is under way when it arrives; 63 + 63 + 24 tokens fit beside the other's one in steps 3, 4 and 5.
    assert_eq!(others, 5);
}

#[test]
fn a_repeated_prompt_hits_the_cache_up_to_its_last_full_block() {
    let mut scheduler = Scheduler::new(config());
    scheduler.submit(Duration::ZERO, request(1, 48, 2)).expect("room");
    run_until_idle(&mut scheduler);
    scheduler.submit(100 * MS, request(1, 48, 2)).expect("room");
    let progress = run_until_idle(&mut scheduler);
    // At least one token is computed, so the third block is not taken from the cache.
    assert_eq!(progress[0].cached_tokens, 32);
    let stats = scheduler.stats();
    assert_eq!((stats.prefix_cache_queries, stats.prefix_cache_hits), (96, 32));
    assert_eq!((stats.prompt_tokens, stats.prompt_tokens_computed, stats.prompt_tokens_cached), (96, 64, 32));
}

#[test]
fn without_prefix_caching_nothing_is_asked_or_found() {
    let mut scheduler = Scheduler::new(SchedulerConfig { prefix_caching: false, ..config() });
    for _ in 0..2 {
        scheduler.submit(Duration::ZERO, request(1, 48, 2)).expect("room");
        run_until_idle(&mut scheduler);
    }
    assert_eq!((scheduler.stats().prefix_cache_queries, scheduler.stats().prefix_cache_hits), (0, 0));
}

#[test]
fn when_blocks_run_out_the_youngest_is_preempted_and_finishes_later_all_the_same() {
    // Seven usable blocks of 16 tokens; each request grows to 4 blocks.
    let mut scheduler = Scheduler::new(SchedulerConfig { num_blocks: 8, max_model_len: 64, ..config() });
    let older = scheduler.submit(Duration::ZERO, request(1, 30, 34)).expect("room");
    let younger = scheduler.submit(Duration::ZERO, request(2, 30, 34)).expect("room");
    let progress = run_until_idle(&mut scheduler);
    let finished: Vec<RequestId> = progress.iter().filter(|one| one.finished.is_some()).map(|one| one.id).collect();
    assert_eq!(finished, [older, younger]);
    assert_eq!(scheduler.stats().preemptions, 1);
    let emitted: Vec<u32> = progress.iter().filter(|one| one.id == younger).map(|one| one.emitted).collect();
    assert_eq!(emitted, (1..=34).collect::<Vec<_>>(), "no token twice, none lost");
    assert_eq!(scheduler.stats().prompt_tokens, 60, "a prompt computed again counts once");
}

#[test]
fn the_queue_is_bounded_by_those_no_step_has_taken_up_yet() {
    let mut scheduler = Scheduler::new(SchedulerConfig { max_num_queued_reqs: Some(12), ..config() });
    let taken = (0..20).filter(|first| scheduler.submit(Duration::ZERO, request(*first, 8, 9)).is_ok()).count();
    assert_eq!((taken, scheduler.stats().rejected), (12, 8));
    let mut progress = Vec::new();
    scheduler.advance(10 * MS, &mut progress);
    assert_eq!((scheduler.running(), scheduler.waiting()), (4, 8));
    assert!(!scheduler.queue_full());
    scheduler.advance(20 * MS, &mut progress);
    (0..4).for_each(|first| assert!(scheduler.submit(20 * MS, request(first, 8, 9)).is_ok()));
    assert!(scheduler.queue_full());
}

#[test]
fn an_aborted_request_frees_its_blocks_at_once_and_counts_nowhere() {
    let mut scheduler = Scheduler::new(config());
    let id = scheduler.submit(Duration::ZERO, request(1, 48, 9)).expect("room");
    let waiting = scheduler.submit(Duration::ZERO, request(2, 48, 9)).expect("room");
    assert!(scheduler.kv_usage() > 0.0);
    scheduler.abort(id);
    scheduler.abort(waiting);
    assert_eq!((scheduler.running(), scheduler.waiting(), scheduler.kv_usage().to_bits()), (0, 0, 0));
    assert!(run_until_idle(&mut scheduler).is_empty());
    assert_eq!(scheduler.stats().e2e.count() + scheduler.stats().finished_abort, 0);
}

#[test]
fn pausing_ends_what_runs_and_holds_what_comes_out_of_sight() {
    let mut scheduler = Scheduler::new(config());
    scheduler.submit(Duration::ZERO, request(1, 8, 9)).expect("room");
    let mut progress = Vec::new();
    scheduler.pause(true, &mut progress);
    assert_eq!(progress[0].finished, Some(FinishReason::Abort));
    assert_eq!(scheduler.stats().finished_abort, 1);
    scheduler.submit(MS, request(2, 8, 1)).expect("room");
    assert!(run_until_idle(&mut scheduler).is_empty());
    assert_eq!((scheduler.running(), scheduler.waiting()), (0, 0));
    scheduler.resume(100 * MS);
    assert_eq!(run_until_idle(&mut scheduler).len(), 1);
}

#[test]
fn a_pause_that_keeps_requests_goes_on_where_it_was() {
    let mut scheduler = Scheduler::new(config());
    scheduler.submit(Duration::ZERO, request(1, 8, 4)).expect("room");
    let mut progress = Vec::new();
    scheduler.pause(false, &mut progress);
    progress.extend(run_until_idle(&mut scheduler));
    assert_eq!(progress.len(), 1, "the step under way ends");
    scheduler.resume(500 * MS);
    assert_eq!(run_until_idle(&mut scheduler).len(), 3);
}

#[test]
fn steps_take_what_the_performance_model_says() {
    let step = StepTime::from_milliseconds(10.0, 0.1, 0.01, 1.0);
    let mut scheduler = Scheduler::new(SchedulerConfig { step, time_scale: 2.0, ..config() });
    scheduler.submit(Duration::ZERO, request(1, 40, 2)).expect("room");
    // 10 + 0.1 · 40 + 0.01 · 40 + 1 = 15.4 ms, halved; then 10 + 0.1 + 0.01 · 41 + 1 = 11.51 ms, halved.
    assert_eq!(scheduler.next_event(), Some(Duration::from_micros(7700)));
    let mut progress = Vec::new();
    scheduler.advance(Duration::from_micros(7700), &mut progress);
    assert_eq!(scheduler.next_event(), Some(Duration::from_micros(13_455)));
    scheduler.set_slowdown(3.0);
    run_until_idle(&mut scheduler);
    assert!((scheduler.stats().ttft.sum() - 0.0077).abs() < 1e-9);
}
