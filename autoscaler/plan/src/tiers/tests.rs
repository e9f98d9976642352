use proptest::prelude::*;

use super::*;

fn tier(tokens_per_second: f64, min_replicas: u32, max_replicas: u32) -> Tier {
    Tier { tokens_per_second, min_replicas, max_replicas }
}

fn work(arrivals_per_second: f64, prompt_tokens: f64, output_tokens: f64) -> Work {
    Work { arrivals_per_second, prompt_tokens, output_tokens }
}

#[test]
fn both_tiers_follow_the_same_arrivals_each_by_its_own_tokens() {
    let (prefill, decode) = (tier(20_000.0, 1, 50), tier(2_000.0, 1, 50));
    let plan = plan_tiers(&work(40.0, 2_000.0, 250.0), &prefill, &decode).expect("a plan");
    assert_eq!((plan.prefill, plan.decode), (4, 5));
    let plan = plan_tiers(&work(40.0, 4_000.0, 250.0), &prefill, &decode).expect("a plan");
    assert_eq!((plan.prefill, plan.decode), (8, 5));
}

#[test]
fn a_tier_at_its_most_holds_the_other_at_what_comes_through() {
    let plan = plan_tiers(&work(40.0, 2_000.0, 250.0), &tier(20_000.0, 1, 2), &tier(2_000.0, 1, 50)).expect("a plan");
    assert_eq!((plan.prefill, plan.decode), (2, 3));
    assert!((plan.carried_share - 0.5).abs() < 1e-9);
}

#[test]
fn both_sleep_or_neither() {
    let asleep = plan_tiers(&work(0.0, 2_000.0, 250.0), &tier(20_000.0, 0, 4), &tier(2_000.0, 0, 4)).expect("a plan");
    assert_eq!((asleep.prefill, asleep.decode), (0, 0));
    let kept = plan_tiers(&work(0.0, 2_000.0, 250.0), &tier(20_000.0, 1, 4), &tier(2_000.0, 0, 4)).expect("a plan");
    assert_eq!((kept.prefill, kept.decode), (1, 1));
    let no_answers = plan_tiers(&work(0.1, 2_000.0, 0.0), &tier(20_000.0, 0, 4), &tier(2_000.0, 0, 4)).expect("a plan");
    assert_eq!((no_answers.prefill, no_answers.decode), (1, 1));
}

#[test]
fn what_cannot_be_planned_is_named() {
    let (prefill, decode) = (tier(20_000.0, 0, 4), tier(2_000.0, 0, 0));
    let error = plan_tiers(&work(1.0, 10.0, 10.0), &prefill, &decode).expect_err("no decode").to_string();
    assert_eq!(error, "a tier without a replica: at most 4 of prefill and 0 of decode");
    let error = plan_tiers(&work(1.0, f64::NAN, 10.0), &prefill, &prefill).expect_err("no number").to_string();
    assert_eq!(error, "the number of tokens of a prompt is NaN");
    let error = plan_tiers(&work(1.0, 1.0, 10.0), &tier(0.0, 0, 4), &prefill).expect_err("no capacity").to_string();
    assert_eq!(error, "the capacity of prefill is 0");
}

proptest! {
    #[test]
    fn both_tiers_carry_the_same_share_within_their_limits_and_more_work_never_needs_less(
        (arrivals, prompt, output) in (0.0_f64..100.0, 0.0_f64..10_000.0, 0.0_f64..2_000.0),
        (most_prefill, most_decode) in (1_u32..20, 1_u32..20),
    ) {
        let (prefill, decode) = (tier(20_000.0, 0, most_prefill), tier(2_000.0, 0, most_decode));
        let plan = plan_tiers(&work(arrivals, prompt, output), &prefill, &decode).expect("a plan");
        prop_assert!(plan.prefill <= most_prefill && plan.decode <= most_decode);
        prop_assert_eq!(plan.prefill == 0, plan.decode == 0);
        let carries = |tokens: f64, each: f64, count: u32| {
            arrivals * tokens * plan.carried_share <= each * f64::from(count) * (1.0 + 1e-6) + 1e-6
        };
        prop_assert!(carries(prompt, 20_000.0, plan.prefill) && carries(output, 2_000.0, plan.decode));
        let more = plan_tiers(&work(arrivals * 1.5, prompt, output), &prefill, &decode).expect("a plan");
        prop_assert!(more.carried_share <= plan.carried_share + 1e-12);
        prop_assert!(plan.carried_share < 1.0 || (more.prefill >= plan.prefill && more.decode >= plan.decode) || more.carried_share < 1.0);
    }
}
