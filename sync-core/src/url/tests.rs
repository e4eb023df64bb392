//! Tables and properties of canonical URLs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Every accepted spelling and its canonical form.
const ACCEPTED: &[(&str, &str)] = &[
    ("wss://relay.example", "wss://relay.example/"),
    ("  wss://relay.example/\n", "wss://relay.example/"),
    ("WSS://Relay.EXAMPLE", "wss://relay.example/"),
    ("wss://relay.example.", "wss://relay.example/"),
    ("wss://relay.example:443", "wss://relay.example/"),
    ("wss://relay.example:0443/", "wss://relay.example/"),
    ("wss://relay.example:", "wss://relay.example/"),
    ("wss://relay.example:80", "wss://relay.example:80/"),
    ("ws://relay.example:80", "ws://relay.example/"),
    ("ws://relay.example:443", "ws://relay.example:443/"),
    ("wss://relay.example/nostr", "wss://relay.example/nostr"),
    ("wss://relay.example/nostr/", "wss://relay.example/nostr/"),
    ("wss://relay.example/Nostr//x", "wss://relay.example/Nostr//x"),
    ("wss://relay.example/%7e%2F", "wss://relay.example/%7e%2F"),
    ("wss://relay.example/a b", "wss://relay.example/a%20b"),
    ("wss://relay.example/é", "wss://relay.example/%C3%A9"),
    ("wss://relay.example?key=1", "wss://relay.example/"),
    ("wss://relay.example/x?key=1#y", "wss://relay.example/x"),
    ("wss://relay.example#x", "wss://relay.example/"),
    ("wss://bücher.example", "wss://xn--bcher-kva.example/"),
    ("wss://BÜCHER.example", "wss://xn--bcher-kva.example/"),
    ("wss://xn--bcher-kva.example", "wss://xn--bcher-kva.example/"),
    ("wss://relay。example", "wss://relay.example/"),
    ("wss://under_score.example", "wss://under_score.example/"),
    ("ws://localhost:7777", "ws://localhost:7777/"),
    ("ws://127.0.0.1:8080/", "ws://127.0.0.1:8080/"),
    ("ws://１２７.0.0.1", "ws://127.0.0.1/"),
    ("ws://[::1]", "ws://[::1]/"),
    ("ws://[0:0:0:0:0:0:0:1]:7000/a", "ws://[::1]:7000/a"),
    ("wss://[2001:DB8::0:1]:443", "wss://[2001:db8::1]/"),
    ("ws://[::FFFF:127.0.0.1]", "ws://[::ffff:127.0.0.1]/"),
    ("wss://abc.onion:444/x", "wss://abc.onion:444/x"),
];

const REFUSED: &[(&str, RelayUrlError)] = &[
    ("", RelayUrlError::Scheme),
    ("relay.example", RelayUrlError::Scheme),
    ("http://relay.example", RelayUrlError::Scheme),
    ("https://relay.example", RelayUrlError::Scheme),
    ("wss:relay.example", RelayUrlError::Scheme),
    ("wss://", RelayUrlError::Host),
    ("wss:///path", RelayUrlError::Host),
    ("wss://:443", RelayUrlError::Host),
    ("wss://.", RelayUrlError::Host),
    ("wss://a..b", RelayUrlError::Host),
    ("wss://a b", RelayUrlError::Host),
    ("wss://a%2eb", RelayUrlError::Host),
    ("wss://good.example\\evil.example", RelayUrlError::Host),
    ("wss://user@relay.example", RelayUrlError::Userinfo),
    ("wss://user:password@relay.example", RelayUrlError::Userinfo),
    ("wss://good.example\\@evil.example", RelayUrlError::Userinfo),
    ("wss://relay.example:0", RelayUrlError::Port),
    ("wss://relay.example:65536", RelayUrlError::Port),
    ("wss://relay.example:+443", RelayUrlError::Port),
    ("wss://relay.example:x", RelayUrlError::Port),
    ("ws://0x7f.0.0.1", RelayUrlError::Host),
    ("ws://0177.0.0.1", RelayUrlError::Host),
    ("ws://2130706433", RelayUrlError::Host),
    ("ws://127.1", RelayUrlError::Host),
    ("ws://0x7f000001", RelayUrlError::Host),
    ("ws://1.2.3.256", RelayUrlError::Host),
    ("ws://[::1", RelayUrlError::Host),
    ("ws://[fe80::1%25eth0]", RelayUrlError::Host),
    ("ws://[fe80::1%eth0]", RelayUrlError::Host),
    ("ws://[127.0.0.1]", RelayUrlError::Host),
    ("ws://::1", RelayUrlError::Host),
];

#[test]
fn every_spelling_of_a_relay_has_one_canonical_form() {
    for (given, canonical) in ACCEPTED {
        let url = RelayUrl::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(url.as_str(), *canonical, "{given}");
        assert_eq!(RelayUrl::parse(url.as_str()).unwrap(), url, "{given}");
    }
}

#[test]
fn what_names_no_relay_is_refused_with_its_cause() {
    for (given, error) in REFUSED {
        assert_eq!(RelayUrl::parse(given).unwrap_err(), *error, "{given}");
    }
}

#[test]
fn the_parts_of_a_canonical_url_are_read_back() {
    let url = RelayUrl::parse("wss://relay.example:7000/a/b").unwrap();
    assert_eq!(url.host(), Host::Name("relay.example"));
    assert_eq!((url.port(), url.path(), url.is_tls()), (7000, "/a/b", true));
    assert_eq!(url.authority(), "relay.example:7000");
    let v6 = RelayUrl::parse("ws://[::1]").unwrap();
    assert_eq!(v6.host(), Host::V6(Ipv6Addr::LOCALHOST));
    assert_eq!((v6.host_str(), v6.port(), v6.path(), v6.is_tls()), ("[::1]", 80, "/", false));
    let v4 = RelayUrl::parse("wss://10.0.0.1").unwrap();
    assert_eq!((v4.host(), v4.port()), (Host::V4(Ipv4Addr::new(10, 0, 0, 1)), 443));
    assert!(RelayUrl::parse("ws://abc.onion").unwrap().is_onion());
    assert!(!RelayUrl::parse("ws://onion.example").unwrap().is_onion());
}

#[test]
fn a_url_of_512_bytes_is_taken_and_one_of_513_is_not() {
    let head = "wss://relay.example/";
    let longest = format!("{head}{}", "x".repeat(512 - head.len()));
    assert_eq!(RelayUrl::parse(&longest).unwrap().as_str().len(), 512);
    assert_eq!(RelayUrl::parse(&format!("{longest}x")), Err(RelayUrlError::TooLong));
    assert!(RelayUrl::parse(&format!("{longest}?{}", "q".repeat(600))).is_ok());
    assert_eq!(
        RelayUrl::parse(&format!("{longest}?{}", "q".repeat(9000))),
        Err(RelayUrlError::TooLong)
    );
}

#[test]
fn a_person_may_leave_out_the_scheme() {
    let typed = |text| RelayUrl::parse_operator(text).map(|url| String::from(url.as_str()));
    assert_eq!(typed(" relay.example ").unwrap(), "wss://relay.example/");
    assert_eq!(typed("relay.example:7000/x").unwrap(), "wss://relay.example:7000/x");
    assert_eq!(typed("ws://localhost").unwrap(), "ws://localhost/");
    assert_eq!(typed("https://relay.example"), Err(RelayUrlError::Scheme));
}

#[test]
fn a_clone_url_of_the_grasp_shape_names_a_relay() {
    let npub = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6";
    let relay =
        |text: String| RelayUrl::from_clone_url(&text).map(|url| String::from(url.as_str()));
    let some = |text: &str| Some(String::from(text));
    assert_eq!(
        relay(format!("https://Grasp.example/{npub}/repo.git")),
        some("wss://grasp.example/")
    );
    assert_eq!(
        relay(format!("https://grasp.example:8443/{npub}/a%20b.git")),
        some("wss://grasp.example:8443/")
    );
    assert_eq!(
        relay(format!("http://localhost:7334/{npub}/repo.git")),
        some("ws://localhost:7334/")
    );
    for plain in [
        "https://github.com/someone/repo.git".into(),
        format!("https://grasp.example/{npub}/repo"),
        format!("https://grasp.example/{npub}/.git"),
        format!("https://grasp.example/{npub}/a/b.git"),
        format!("https://grasp.example/x/{npub}/repo.git"),
        format!("https://user@grasp.example/{npub}/repo.git"),
        format!("ssh://grasp.example/{npub}/repo.git"),
        "https://grasp.example/npub1xyz/repo.git".into(),
        format!("https://grasp.example/{npub}/repo.git?x=1"),
    ] {
        assert_eq!(relay(plain.clone()), None, "{plain}");
    }
}

fn host_like() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[a-zA-Z0-9_.-]{0,12}",
        "[0-9x.]{1,12}",
        Just(String::from("ü。x")),
        "\\PC{0,4}",
        "[0-9a-f:\\[\\]%]{0,10}",
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts: Vec<String>| parts.concat())
}

proptest! {
    #[test]
    fn the_canonical_form_is_its_own_canonical_form(
        tls in any::<bool>(), host in host_like(), port in prop::option::of("[0-9]{0,6}"),
        path in "(/\\PC{0,12})?",
    ) {
        let scheme = if tls { "wss" } else { "WS" };
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        if let Ok(url) = RelayUrl::parse(&format!("{scheme}://{host}{port}{path}")) {
            prop_assert_eq!(RelayUrl::parse(url.as_str()), Ok(url.clone()));
            prop_assert!(url.as_str().is_ascii() && url.path().starts_with('/'));
            let rebuilt = format!("{}://{}:{}{}", if url.is_tls() { "wss" } else { "ws" },
                url.host_str(), url.port(), url.path());
            prop_assert_eq!(RelayUrl::parse(&rebuilt), Ok(url));
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,64}") {
        for result in [RelayUrl::parse(&text), RelayUrl::parse_operator(&text)] {
            prop_assert!(result.is_err() || result.is_ok());
        }
        RelayUrl::from_clone_url(&text);
    }
}
