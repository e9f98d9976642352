//! What becomes of orders.

use super::*;

/// Stock-outs counted after a quarter of an hour in which `told` replicas were told and one engine was there.
fn stock_outs(told: u32) -> u32 {
    let mut state = State::default();
    let busy = |now, replicas| Facts { replicas, ..fleet(now, &[(8.0, 24.0)]) };
    assert_eq!(decide(&busy(at(0), 1), &mut state, at(0)).replicas, 4);
    hold_for(|now| busy(now, told), &mut state, 2000, 900).startup.stock_outs
}

#[test]
fn an_order_that_is_never_answered_is_a_stock_out() {
    assert_eq!(stock_outs(4), 3);
}

#[test]
fn an_order_that_a_pool_or_somebody_else_cut_is_not_missed_later() {
    assert_eq!(stock_outs(1), 0);
    assert_eq!(stock_outs(2), 1);
}

#[test]
fn the_plan_tells_how_much_each_replica_will_be_used() {
    let mut state = State::default();
    experienced(&mut state);
    let uses = state.plan.layer_uses();
    assert!(uses.len() >= 4, "{uses:?}");
    for (index, layer) in uses.iter().enumerate() {
        // Four engines with six requests each, at eight a replica, fill three replicas.
        let expected = if index < 3 { 1.0 } else { 0.0 };
        assert!((layer.kept - expected).abs() < 0.05, "{index}: {uses:?}");
        assert!((layer.ordered - expected * 2.0 / 3.0).abs() < 0.05, "{index}: {uses:?}");
    }
    assert!(State::default().plan.layer_uses().is_empty());
}
