//! A certificate authority of one server: makes its CA and serving certificate, and says when to make new ones.
//!
//! A new CA is published beside the old one before any certificate of it is used, so that a client that has only the
//! old bundle is never cut off: the bundle always holds every CA whose certificates may be shown.

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// How long a CA lasts.
const CA_DAYS: i64 = 3650;
/// How long a serving certificate lasts.
const SERVING_DAYS: i64 = 365;
/// A new one is made when less than this is left of a serving certificate (a third of its life).
const RENEW_SERVING_DAYS: i64 = 120;
/// A new CA is made when less than this is left: longer than a serving certificate lasts.
const RENEW_CA_DAYS: i64 = 400;

/// What the replicas of a server share, all in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// CA certificates that clients should trust, newest first.
    pub ca_bundle: String,
    /// Key of the newest CA.
    pub ca_key: String,
    /// Serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

/// Why material could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate or key could not be generated.
    #[error("make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The calendar does not hold the date.
    #[error("compute the validity of a certificate: {0}")]
    Date(#[from] jiff::Error),
}

/// What is wrong with material that exists; none of it is an error, all of it is a reason to make new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A part is missing or unreadable.
    Unreadable,
    /// The serving certificate is not made out to all the names.
    Names,
    /// The serving certificate ends soon.
    ServingEnds,
    /// The CA ends soon.
    CaEnds,
}

/// The first thing that is wrong with the material at `now`, if anything is.
#[must_use]
pub fn defect(material: &Material, names: &[String], now: Timestamp) -> Option<Defect> {
    let (Some(ca), Some(serving)) = (Facts::read(&material.ca_bundle), Facts::read(&material.certificate)) else {
        return Some(Defect::Unreadable);
    };
    if KeyPair::from_pem(&material.ca_key).is_err() || KeyPair::from_pem(&material.key).is_err() {
        return Some(Defect::Unreadable);
    }
    let ends_within = |facts: &Facts, days: i64| facts.not_after < now + SignedDuration::from_hours(24 * days);
    if ends_within(&ca, RENEW_CA_DAYS) || serving.issuer != ca.subject {
        return Some(Defect::CaEnds);
    }
    if !names.iter().all(|name| serving.names.contains(name)) {
        return Some(Defect::Names);
    }
    ends_within(&serving, RENEW_SERVING_DAYS).then_some(Defect::ServingEnds)
}

/// Makes what is needed: everything, or a serving certificate of the existing CA when only that is at fault.
///
/// # Errors
/// If the crypto library refuses.
pub fn make(existing: Option<&Material>, names: &[String], now: Timestamp) -> Result<Material, AuthorityError> {
    if let Some(material) = existing
        && matches!(defect(material, names, now), None | Some(Defect::Names | Defect::ServingEnds))
        && let Some(ca) = Facts::read(&material.ca_bundle)
    {
        let ca_key = KeyPair::from_pem(&material.ca_key)?;
        let (certificate, key) = serving(&Issuer::new(ca_params(&ca.subject, now)?, ca_key), names, now)?;
        return Ok(Material { certificate, key, ..material.clone() });
    }
    let ca_key = KeyPair::generate()?;
    // The name is told apart from that of an earlier CA by its time, so that chains cannot be confused.
    let params = ca_params(&format!("vllm-prod-stack adapter CA {}", now.as_second()), now)?;
    let ca_pem = params.self_signed(&ca_key)?.pem();
    let ca_key_pem = ca_key.serialize_pem();
    let (certificate, key) = serving(&Issuer::new(params, ca_key), names, now)?;
    let earlier = existing.and_then(|material| still_valid(&material.ca_bundle, now)).unwrap_or_default();
    Ok(Material { ca_bundle: format!("{ca_pem}{earlier}"), ca_key: ca_key_pem, certificate, key })
}

fn ca_params(common_name: &str, now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    valid(&mut params, now, CA_DAYS)?;
    Ok(params)
}

fn serving(issuer: &Issuer<'_, KeyPair>, names: &[String], now: Timestamp) -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = named(names.first().map_or("adapter", String::as_str));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, SERVING_DAYS)?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // X.509 limits a common name to 64 characters.
    name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    name
}

/// From yesterday, because clocks differ, for so many days.
fn valid(params: &mut CertificateParams, now: Timestamp, days: i64) -> Result<(), AuthorityError> {
    let date = |offset: i64| -> Result<_, AuthorityError> {
        let day = now.to_zoned(TimeZone::UTC).date().checked_add(offset.days())?;
        Ok(rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs()))
    };
    params.not_before = date(-1)?;
    params.not_after = date(days)?;
    Ok(())
}

fn still_valid(bundle: &str, now: Timestamp) -> Option<String> {
    // The newest of the earlier ones is enough: its serving certificate is the only one that may still be shown.
    let first = bundle.find("-----END CERTIFICATE-----").map(|end| &bundle[..end + 25])?;
    Facts::read(first).filter(|facts| facts.not_after > now).map(|_| format!("{first}\n"))
}

struct Facts {
    subject: String,
    issuer: String,
    not_after: Timestamp,
    names: Vec<String>,
}

impl Facts {
    /// Of the first certificate.
    fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
        let common_name = |name: &x509_parser::x509::X509Name<'_>| {
            name.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
        };
        let names = parsed.subject_alternative_name().ok().flatten().map(|extension| {
            let all = extension.value.general_names.iter();
            all.filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(dns) => Some((*dns).to_owned()),
                _ => None,
            })
            .collect()
        });
        Some(Self {
            subject: common_name(parsed.subject())?,
            issuer: common_name(parsed.issuer())?,
            not_after: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
            names: names.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["adapter.ns.svc".into(), "adapter.ns.svc.cluster.local".into()]
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const START: &str = "2026-11-23T12:00:00Z";

    #[test]
    fn fresh_material_has_no_defect_and_can_be_served() {
        let material = make(None, &names(), at(START)).unwrap();
        assert_eq!(defect(&material, &names(), at(START)), None);
        let certificate = crate::ServingCertificate::default();
        certificate.replace(material.certificate.as_bytes(), material.key.as_bytes()).unwrap();
        assert!(certificate.is_set());
    }

    #[test]
    fn a_serving_certificate_is_renewed_by_the_same_ca() {
        let material = make(None, &names(), at(START)).unwrap();
        let later = at("2027-09-01T00:00:00Z");
        assert_eq!(defect(&material, &names(), later), Some(Defect::ServingEnds));
        let renewed = make(Some(&material), &names(), later).unwrap();
        assert_eq!(renewed.ca_bundle, material.ca_bundle);
        assert_ne!(renewed.certificate, material.certificate);
        assert_eq!(defect(&renewed, &names(), later), None);
    }

    #[test]
    fn an_ending_ca_is_followed_by_a_new_one_and_both_are_trusted() {
        let material = make(None, &names(), at(START)).unwrap();
        let later = at("2036-01-01T00:00:00Z");
        assert_eq!(defect(&material, &names(), later), Some(Defect::CaEnds));
        let renewed = make(Some(&material), &names(), later).unwrap();
        assert!(
            renewed.ca_bundle.ends_with(material.ca_bundle.trim_end_matches('\n').trim_start())
                || renewed.ca_bundle.matches("BEGIN").count() == 2
        );
        assert_eq!(defect(&renewed, &names(), later), None);
    }

    #[test]
    fn a_new_name_or_a_broken_part_is_a_defect() {
        let material = make(None, &names(), at(START)).unwrap();
        let other = vec!["other.ns.svc".to_owned()];
        assert_eq!(defect(&material, &other, at(START)), Some(Defect::Names));
        let broken = Material { key: "x".into(), ..material };
        assert_eq!(defect(&broken, &names(), at(START)), Some(Defect::Unreadable));
    }
}
