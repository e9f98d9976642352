use http::header::HeaderValue;

use super::*;

fn trust() -> TrustConfig {
    TrustConfig {
        username_headers: vec!["X-Remote-User".into()],
        uid_headers: vec!["X-Remote-Uid".into()],
        group_headers: vec!["X-Remote-Group".into()],
        extra_prefixes: vec!["X-Remote-Extra-".into()],
        ..TrustConfig::default()
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn headers_of_the_front_proxy_give_user_uid_groups_and_extra() {
    let identity = by_headers(
        &trust(),
        &headers(&[
            ("x-remote-user", "hpa"),
            ("x-remote-uid", "3fd1"),
            ("x-remote-group", "system:serviceaccounts"),
            ("x-remote-group", "system:authenticated"),
            ("x-remote-extra-authentication.kubernetes.io%2fcredential-id", "JTI=1"),
        ]),
    )
    .unwrap();
    assert_eq!((identity.user.as_str(), identity.uid.as_str()), ("hpa", "3fd1"));
    assert_eq!(identity.groups, ["system:serviceaccounts", "system:authenticated"]);
    assert_eq!(identity.extra["authentication.kubernetes.io/credential-id"], ["JTI=1"]);
}

#[test]
fn everybody_who_is_authenticated_is_in_that_group() {
    // As system:aggregator comes: without any group, asking for /openapi/v2.
    let identity = by_headers(&trust(), &headers(&[("x-remote-user", "system:aggregator")])).unwrap();
    assert_eq!(identity.groups, ["system:authenticated"]);
}

#[test]
fn without_a_user_name_the_headers_say_nothing() {
    assert_eq!(by_headers(&trust(), &headers(&[("x-remote-group", "system:masters")])), None);
}

#[test]
fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
    assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
    assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
    assert_eq!(bearer(&headers(&[("authorization", "Bearer ")])), None);
}
