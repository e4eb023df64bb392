//! The dial guard (T1): which addresses and ports of strangers are dialed. URLs of announcements
//! are written by anybody, so nothing of our own network may be reached through them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sync_core::input::{DialError, DialErrorKind};
use sync_core::url::RelayUrl;

use super::dial_error;

/// Ports above 1023 that no relay has, and where a TLS greeting may do harm: databases,
/// orchestration, remote control, and those that browsers refuse.
const DENIED_PORTS: &[u16] = &[
    1080, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2377, 2379, 2380, 3128, 3260, 3306,
    3389, 3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672, 5900, 5984, 5985, 5986, 6000, 6379, 6443,
    6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 7001, 8086, 8125, 8300, 8500, 9042, 9092, 9100,
    9200, 9300, 9418, 10080, 10250, 10255, 11211, 15672, 25565, 26257, 27017, 27018, 50000, 50070,
];

/// What is refused before any name is resolved.
pub(super) fn check_url(url: &RelayUrl) -> Result<(), DialError> {
    if !url.is_tls() {
        return Err(dial_error(DialErrorKind::Guard, "a discovered relay is dialed by wss only"));
    }
    if !port_is_dialed(url.port()) {
        return Err(dial_error(DialErrorKind::Guard, "a port that is not dialed"));
    }
    Ok(())
}

/// Whether a port of a discovered relay is dialed: 443, or above 1023 and not known for
/// something else.
pub fn port_is_dialed(port: u16) -> bool {
    port == 443 || (port > 1023 && !DENIED_PORTS.contains(&port))
}

/// Why an address of a discovered relay is not dialed; `None` for a public one.
pub fn address_refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => v4_refusal(address),
        IpAddr::V6(address) => v6_refusal(address),
    }
}

fn v4_refusal(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "this network",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "shared by a carrier",
        [127, ..] => "loopback",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] => "reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [192, 88, 99, _] => "a 6to4 relay",
        [198, 18..=19, ..] => "for benchmarks",
        // A public address that answers inside of one cloud only.
        [168, 63, 129, 16] => "a metadata service",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    })
}

fn v6_refusal(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        // Behind NAT64 every IPv4 relay looks like this; what counts is whom it leads to.
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return v4_refusal(Ipv4Addr::new(a, b, c, d));
    }
    Some(match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4 address in disguise",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xff00..=0xffff, ..] => "multicast",
        [0x2001, 0x0000..=0x01ff, ..] => "reserved for protocols",
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => "for documentation",
        [0x2002, ..] => "a 6to4 address",
        [0x2000..=0x3fff, ..] => return None,
        _ => "not a global address",
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const REFUSED: &[&str] = &[
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.0.0.53",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "168.63.129.16",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "64:ff9b:0:0:0:1:808:808",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00::1",
        "fd00:ec2::254",
        "fdff:ffff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ];

    const DIALED: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a01:4f8::1",
        "3ffe::1",
        "64:ff9b::808:808",
    ];

    #[test]
    fn nothing_of_our_own_network_is_dialed_and_every_public_address_is() {
        assert!(REFUSED.len() > 60);
        for text in REFUSED {
            assert!(address_refusal(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in DIALED {
            assert_eq!(address_refusal(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn a_discovered_relay_is_dialed_by_wss_on_the_usual_ports_only() {
        let kind = |text: &str| check_url(&RelayUrl::parse(text).unwrap()).map_err(|e| e.kind);
        for text in ["wss://a.example", "wss://a.example:7777", "wss://a.example:1024"] {
            assert_eq!(kind(text), Ok(()), "{text}");
        }
        for text in [
            "ws://a.example",
            "ws://a.example:443",
            "wss://a.example:22",
            "wss://a.example:80",
            "wss://a.example:1023",
            "wss://a.example:6379",
            "wss://a.example:10250",
        ] {
            assert_eq!(kind(text), Err(DialErrorKind::Guard), "{text}");
        }
    }

    #[test]
    fn the_denied_ports_are_sorted_and_above_those_denied_anyway() {
        assert!(DENIED_PORTS.is_sorted() && DENIED_PORTS[0] > 1023);
    }
}
