//! Who acts: one replica, under a lease, with fencing.
//!
//! The rule is pure. Clocks of two machines are never compared: a lease has expired when *this* process has seen it
//! unchanged for its whole duration. A leader stops acting before anybody else can have seen that: leadership holds until
//! the renew deadline, counted from before the last successful write, and the deadline is shorter than the lease.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long others wait for a silent leader.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long after its last successful renewal a leader still acts. The 5 s that are left are longer than one write may
/// take ([`WRITE_TIMEOUT`]), so that a write begun in time also ends in time.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two looks at the lease.
pub const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Longest write of a leader, to the lease or to anything else.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// Until when this process may act; `None` while it does not lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    valid_until: Option<Instant>,
}

impl Leadership {
    /// Leadership that ends at `instant`.
    #[must_use]
    pub fn until(instant: Instant) -> Self {
        Self { valid_until: Some(instant) }
    }

    /// Whether a write may begin now.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| now < until)
    }
}

/// What is known of the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; `None` when nobody does.
    pub holder: Option<String>,
    /// Changes with every renewal.
    pub resource_version: String,
    /// How long a silent holder keeps it.
    pub duration: Duration,
    /// When this process first saw it like this.
    pub since: Instant,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is free, or its holder has been silent for too long.
    Acquire,
    /// It is ours: say so again.
    Renew,
    /// Another one holds it.
    Wait,
}

/// The rule.
#[must_use]
pub fn step(seen: &Seen, me: &str, now: Instant) -> Step {
    match seen.holder.as_deref() {
        None | Some("") => Step::Acquire,
        Some(holder) if holder == me => Step::Renew,
        Some(_) if now.duration_since(seen.since) >= seen.duration => Step::Acquire,
        Some(_) => Step::Wait,
    }
}

/// The lease loop of one process.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    me: String,
    seen: Option<Seen>,
    sender: watch::Sender<Leadership>,
    clock: fn() -> jiff::Timestamp,
}

impl Candidate {
    /// A candidate for the lease `name`, known to others as `me`.
    #[must_use]
    pub fn new(
        api: Api<Lease>,
        name: String,
        me: String,
        clock: fn() -> jiff::Timestamp,
    ) -> (Self, watch::Receiver<Leadership>) {
        let (sender, receiver) = watch::channel(Leadership::default());
        (Self { api, name, me, seen: None, sender, clock }, receiver)
    }

    /// Tries to lead until `stop`, then hands the lease back.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(RETRY_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.attempt(Instant::now()).await,
            }
        }
        self.release().await;
    }

    /// One look at the lease, begun at `started`, and what follows from it.
    pub async fn attempt(&mut self, started: Instant) {
        match tokio::time::timeout(WRITE_TIMEOUT, self.take_turn(started)).await {
            Ok(Ok(true)) => {
                if !self.sender.borrow().holds(started) {
                    tracing::info!(lease = %self.name, identity = %self.me, "leading");
                }
                self.sender.send_replace(Leadership::until(started + RENEW_DEADLINE));
            }
            Ok(Ok(false)) => self.follow(),
            // What was valid stays valid until its deadline: an API server that restarts is no reason to stop.
            Ok(Err(error)) => tracing::warn!(lease = %self.name, error = %error, "lease not renewed"),
            Err(_) => {
                tracing::warn!(lease = %self.name, timeout = ?WRITE_TIMEOUT, "lease not renewed: no answer in time");
            }
        }
    }

    /// `Ok(true)` when the lease is ours after this turn.
    async fn take_turn(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = self.claim(None);
            let made = self.api.create(&PostParams::default(), &lease).await;
            return self.ours_unless_conflict(made, now);
        };
        self.look(&lease, now);
        let Some(seen) = &self.seen else { return Ok(false) };
        match step(seen, &self.me, now) {
            Step::Wait => Ok(false),
            Step::Acquire | Step::Renew => {
                let claimed = self.claim(Some(lease));
                let written = self.api.replace(&self.name, &PostParams::default(), &claimed).await;
                self.ours_unless_conflict(written, now)
            }
        }
    }

    fn ours_unless_conflict(&mut self, written: Result<Lease, kube::Error>, now: Instant) -> Result<bool, kube::Error> {
        match written {
            Ok(lease) => {
                self.look(&lease, now);
                Ok(true)
            }
            // Another one was faster; the next look shows who.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Remembers the lease, and since when it has been like this.
    fn look(&mut self, lease: &Lease, now: Instant) {
        let resource_version = lease.metadata.resource_version.clone().unwrap_or_default();
        let spec = lease.spec.as_ref();
        let unchanged = self.seen.as_ref().filter(|seen| seen.resource_version == resource_version);
        self.seen = Some(Seen {
            holder: spec.and_then(|spec| spec.holder_identity.clone()),
            duration: spec
                .and_then(|spec| spec.lease_duration_seconds)
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(LEASE_DURATION, Duration::from_secs),
            since: unchanged.map_or(now, |seen| seen.since),
            resource_version,
        });
    }

    /// The lease as ours, on top of what is there (its labels and its resourceVersion, which fences the write).
    fn claim(&self, lease: Option<Lease>) -> Lease {
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let now = MicroTime((self.clock)());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_deref() != Some(&self.me) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = Some(LEASE_DURATION.as_secs() as i32);
        spec.renew_time = Some(now);
        lease
    }

    fn follow(&self) {
        let led = self.sender.send_replace(Leadership::default()) != Leadership::default();
        let holder = self.seen.as_ref().and_then(|seen| seen.holder.as_deref()).unwrap_or("nobody");
        if led {
            tracing::warn!(lease = %self.name, holder, "not leading any more");
        } else {
            tracing::debug!(lease = %self.name, holder, "another replica leads");
        }
    }

    /// Gives the lease back, so that the next leader need not wait for it to expire.
    async fn release(&mut self) {
        let led = self.sender.send_replace(Leadership::default()) != Leadership::default();
        if !led {
            return;
        }
        let release = async {
            let mut lease = self.api.get(&self.name).await?;
            if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.me)) {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match tokio::time::timeout(WRITE_TIMEOUT, release).await {
            Ok(Ok(())) => tracing::info!(lease = %self.name, "lease handed back"),
            Ok(Err(error)) => tracing::warn!(lease = %self.name, error = %error, "lease not handed back, it expires"),
            Err(_) => tracing::warn!(lease = %self.name, "lease not handed back, it expires: no answer in time"),
        }
    }
}

#[cfg(test)]
mod tests;
