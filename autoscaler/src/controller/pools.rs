//! Decisions of targets that share GPUs, cut to what the pool has.

use std::collections::{BTreeMap, BTreeSet};

use autoscaler_api::{InvalidSpec, PoolMember, pool_member};
use autoscaler_plan::{Claim, Pool, divide};

use super::args::PoolConfig;
use super::case::{CaseError, Decided};
use super::objects::Object;
use super::round::Tracked;

/// One object in a round, decided or not.
pub(super) struct Member<'a> {
    /// The object.
    pub(super) object: &'a Object,
    /// Its name.
    pub(super) name: String,
    /// What is remembered of it.
    pub(super) memory: Tracked,
    /// Its decision, or why there is none.
    pub(super) decided: Result<Decided<'a>, CaseError>,
}

/// Whether the pool that an object names is there.
pub(super) fn check(pools: &BTreeMap<String, PoolConfig>, member: Option<&PoolMember>) -> Result<(), InvalidSpec> {
    let Some(PoolMember { pool, .. }) = member.filter(|member| !pools.contains_key(&member.pool)) else {
        return Ok(());
    };
    let known: Vec<&str> = pools.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let problem = format!("the controller's configuration has no pool `{pool}` ({known})");
    Err(InvalidSpec { field: "pool.name".into(), problem, fix: "add it to `pools` there, or name another" })
}

/// What each pool would grant its targets.
pub(super) fn granted(pools: &BTreeMap<String, PoolConfig>, members: &[Member<'_>]) -> BTreeMap<String, u32> {
    let of_pool = |(name, config): (&String, &PoolConfig)| {
        let claims = claims(name, members);
        let grants = divide(&Pool { name: name.clone(), gpus: config.gpus }, &claims);
        claims.into_iter().zip(grants).map(|(claim, grant)| (claim.name, grant.granted)).collect::<Vec<_>>()
    };
    pools.iter().flat_map(of_pool).collect()
}

/// Divides each pool among its targets.
pub(super) fn share_out(pools: &BTreeMap<String, PoolConfig>, members: &mut [Member<'_>]) {
    for (name, config) in pools {
        let pool = Pool { name: name.clone(), gpus: config.gpus };
        let claims = claims(name, members);
        let grants = divide(&pool, &claims);
        for (claim, grant) in claims.iter().zip(&grants) {
            let member = members.iter_mut().find(|member| member.name == claim.name);
            if let Some(Ok(decided)) = member.map(|member| member.decided.as_mut())
                && decided.acts()
            {
                decided.decision.take(grant);
            }
        }
    }
}

/// What the targets of a pool ask of it. What nobody here can change keeps the GPUs it has, once for each target.
fn claims(pool: &str, members: &[Member<'_>]) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut targets = BTreeSet::new();
    for member in members {
        let Ok(decided) = &member.decided else { continue };
        let Some(place) = decided.case.valid.pool.as_ref().filter(|place| place.pool == pool) else { continue };
        if decided.acts() && targets.insert(decided.case.valid.target.to_string()) {
            let Decided { facts, decision, .. } = decided;
            let mut claim = Claim::of(&member.name, place.terms, facts, decision, &member.memory.state);
            // Neither tier serves without a replica of the other.
            claim.min_replicas = claim.min_replicas.max(u32::from(decided.case.valid.tier.is_some()));
            claims.push(claim);
        }
    }
    for member in members {
        match &member.decided {
            Ok(decided) => {
                let Some(place) = decided.case.valid.pool.as_ref().filter(|place| place.pool == pool) else { continue };
                if !decided.acts() && targets.insert(decided.case.valid.target.to_string()) {
                    claims.push(Claim::fixed(&member.name, place.terms, decided.case.scale.replicas));
                }
            }
            // Its target cannot be read now: what was last seen of it is still there.
            Err(_) => {
                let Ok(content) = &member.object.content else { continue };
                let Ok(Some(place)) = pool_member(&content.spec) else { continue };
                let last = content.status.as_ref().and_then(|status| status.current_replicas);
                let last = last.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(0);
                if place.pool == pool {
                    claims.push(Claim::fixed(&member.name, place.terms, last));
                }
            }
        }
    }
    claims
}
