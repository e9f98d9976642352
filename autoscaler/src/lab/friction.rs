//! Flags of a value and named numbers behind it: `240s,cv=.25,fail=.01`.

use autoscaler_sim::StartupLaw;
use autoscaler_sim::events::{Friction, Retries, Scrape, WarmUp};
use process::duration::HumanDuration;

/// Slowness of a fresh engine when only its length is given: first requests compile kernels and fill caches.
const SLOWDOWN: f64 = 2.0;
/// Retries when only their share is given.
const BACKOFF_SECONDS: f64 = 1.0;
const MOST_RETRIES: u32 = 3;

/// Names with what they are set to.
type Named<'a> = Vec<(&'a str, &'a str)>;

/// The first part of `text`, and the named ones behind it in their order.
fn parts<'a>(text: &'a str, names: &[&str], example: &str) -> Result<(&'a str, Named<'a>), String> {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let mut named = Named::new();
    for part in parts {
        let known = part.split_once('=').filter(|(name, _)| names.contains(name));
        let (name, value) = known.ok_or_else(|| format!("`{part}` is not known; write {example}"))?;
        if named.iter().any(|(other, _)| *other == name) {
            return Err(format!("`{part}`: `{name}` is given twice; give it once"));
        }
        named.push((name, value));
    }
    Ok((first, named))
}

fn number(name: &str, text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("`{name}={text}`: `{text}` is not a number"))
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse::<HumanDuration>().map(|duration| duration.as_secs_f64()).map_err(|error| error.to_string())
}

fn named_seconds(name: &str, text: &str) -> Result<f64, String> {
    seconds(text).map_err(|error| format!("`{name}={text}`: {error}"))
}

/// Reads `240s`, `240s,cv=.25` or `240s,cv=.25,fail=.01`.
pub(super) fn startup(text: &str) -> Result<StartupLaw, String> {
    let (mean, named) = parts(text, &["cv", "fail"], "240s, 240s,cv=.25 or 240s,cv=.25,fail=.01")?;
    let mut law = StartupLaw::fixed(seconds(mean)?);
    for (name, value) in named {
        let field = if name == "cv" { &mut law.cv } else { &mut law.failed_share };
        *field = number(name, value)?;
    }
    law.validate().map_err(|error| error.to_string())?;
    Ok(law)
}

/// Reads `60s` or `60s,slowdown=1.5`.
pub(super) fn warm_up(text: &str) -> Result<WarmUp, String> {
    let (length, named) = parts(text, &["slowdown"], "60s or 60s,slowdown=1.5")?;
    let mut warm_up = WarmUp { seconds: seconds(length)?, slowdown: SLOWDOWN };
    for (name, value) in named {
        warm_up.slowdown = number(name, value)?;
    }
    checked(Friction { warm_up, ..Friction::default() }).map(|friction| friction.warm_up)
}

/// Reads `15s`, `15s,delay=5s` or `15s,delay=5s,loss=.01`.
pub(super) fn scrape(text: &str) -> Result<Scrape, String> {
    let (period, named) = parts(text, &["delay", "loss"], "15s, 15s,delay=5s or 15s,delay=5s,loss=.01")?;
    let mut scrape = Scrape { period_seconds: seconds(period)?, ..Scrape::default() };
    for (name, value) in named {
        match name {
            "delay" => scrape.delay_seconds = named_seconds(name, value)?,
            _ => scrape.loss_share = number(name, value)?,
        }
    }
    checked(Friction { scrape, ..Friction::default() }).map(|friction| friction.scrape)
}

/// Reads `.5`, `.5,backoff=1s` or `.5,backoff=1s,most=3`.
pub(super) fn retries(text: &str) -> Result<Retries, String> {
    let (share, named) = parts(text, &["backoff", "most"], ".5, .5,backoff=1s or .5,backoff=1s,most=3")?;
    let share = share.parse().map_err(|_| format!("`{share}` is not a number"))?;
    let mut retries = Retries { share, backoff_seconds: BACKOFF_SECONDS, most: MOST_RETRIES };
    for (name, value) in named {
        match name {
            "backoff" => retries.backoff_seconds = named_seconds(name, value)?,
            _ => {
                let refuse = |_| format!("`{name}={value}`: `{value}` is not a whole number of retries");
                retries.most = value.parse().map_err(refuse)?;
            }
        }
    }
    checked(Friction { retries: Some(retries), ..Friction::default() }).map(|_| retries)
}

fn checked(friction: Friction) -> Result<Friction, String> {
    friction.validate().map(|()| friction).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_laws_are_read_and_bad_ones_refused_with_the_fix() {
        assert_eq!(startup("240s").unwrap(), StartupLaw::fixed(240.0));
        let law = startup("4m,cv=.25,fail=.01").unwrap();
        assert_eq!(law, StartupLaw { mean_seconds: 240.0, cv: 0.25, failed_share: 0.01 });
        assert!(startup("240").unwrap_err().contains("write a number with a unit"));
        assert!(startup("240s,sd=3").unwrap_err().contains("240s,cv=.25,fail=.01"));
        assert!(startup("240s,fail=1").unwrap_err().contains("startup fail = 1"));
        assert!(startup("240s,cv=x").unwrap_err().contains("`x` is not a number"));
        assert_eq!(startup("240s,cv=.2,cv=.3").unwrap_err(), "`cv=.3`: `cv` is given twice; give it once");
    }

    #[test]
    fn warm_ups_scrapes_and_retries_are_read_with_what_is_not_said() {
        assert_eq!(warm_up("1m").unwrap(), WarmUp { seconds: 60.0, slowdown: 2.0 });
        assert_eq!(warm_up("60s,slowdown=1.5").unwrap(), WarmUp { seconds: 60.0, slowdown: 1.5 });
        assert_eq!(scrape("15s").unwrap(), Scrape { period_seconds: 15.0, delay_seconds: 0.0, loss_share: 0.0 });
        let scraped = scrape("15s,loss=.01,delay=5s").unwrap();
        assert_eq!(scraped, Scrape { period_seconds: 15.0, delay_seconds: 5.0, loss_share: 0.01 });
        assert_eq!(retries(".5").unwrap(), Retries { share: 0.5, backoff_seconds: 1.0, most: 3 });
        assert_eq!(retries("1,backoff=500ms,most=2").unwrap().most, 2);
    }

    #[test]
    fn bad_ones_are_refused_by_name() {
        assert_eq!(warm_up("60s,x=2").unwrap_err(), "`x=2` is not known; write 60s or 60s,slowdown=1.5");
        assert_eq!(warm_up("60s,slowdown=.5").unwrap_err(), "warm_up.slowdown = 0.5: must be a factor, at least 1");
        assert_eq!(scrape("15s,loss=2").unwrap_err(), "scrape.loss_share = 2: must be a share from 0 to 1");
        assert!(scrape("15").unwrap_err().contains("write a number with a unit"));
        assert_eq!(retries("2").unwrap_err(), "retries.share = 2: must be a share from 0 to 1");
        assert_eq!(retries(".5,most=x").unwrap_err(), "`most=x`: `x` is not a whole number of retries");
        assert_eq!(startup("240s,cv=x").unwrap_err(), "`cv=x`: `x` is not a number");
        assert!(scrape("15s,delay=5").unwrap_err().starts_with("`delay=5`: "));
    }
}
