//! Reads how a server is reached: who opens data connections, through which proxy, with which versions of TLS, at which
//! times and how fast.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use config::{Value, ValueKind};
use url::Url;

use super::reader::Section;
use super::values;
use super::windows::Windows;
use super::{Password, TlsMode};

/// The slowest limit: below it one reply of a proxy or a listing takes longer than servers wait.
const SLOWEST_RATE: u64 = 1024;
/// Ports below it are the system's (RFC 6335 section 6).
const FIRST_PORT: u16 = 1024;
/// Longest user or password of SOCKS5, in bytes (RFC 1929 section 2).
const MAX_PROXY_WORD: usize = 255;
/// Where a SOCKS proxy listens when its port is left out (the IANA registry's `socks`).
const SOCKS_PORT: u16 = 1080;

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Who opens the data connections.
    pub mode: TransferMode,
    /// Where to listen in active mode; the system chooses where left out.
    pub active_ports: Option<RangeInclusive<u16>>,
    /// The address that the server is told in active mode; the control connection's own where left out.
    pub active_address: Option<IpAddr>,
    /// How the server is asked for a port in passive mode.
    pub passive: PassiveCommand,
    /// When the server may be connected to.
    pub windows: Windows,
    /// Bytes per second of all its connections together.
    pub max_rate: Option<u64>,
    /// The same of all servers together, from `[sync]`.
    pub fleet_max_rate: Option<u64>,
    /// The oldest version of TLS that is spoken.
    pub tls_min: TlsVersion,
    /// The newest one.
    pub tls_max: TlsVersion,
    /// Through which the server is reached.
    pub proxy: Option<Proxy>,
}

/// Who opens the data connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferMode {
    /// We do, to a port that the server opens.
    Passive,
    /// The server does, to a port that we open.
    Active,
}

/// How a server is asked for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassiveCommand {
    /// PASV first on IPv4 and EPSV first on IPv6, and the other one where that is refused.
    Auto,
    /// PASV alone (RFC 959).
    Pasv,
    /// EPSV alone (RFC 2428).
    Epsv,
}

/// A version of TLS; older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    Tls13,
}

/// A SOCKS5 proxy (RFC 1928).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The proxy looks up the server's name (`socks5h`), not we.
    pub resolves: bool,
    /// User and password (RFC 1929), where the proxy wants them.
    pub login: Option<(String, Password)>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl NetworkSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let mode = section.read("mode", values::word);
        let active_ports = section.read("active_ports", ports);
        let active_address = section.read("active_address", address);
        let passive = section.read("passive", values::word);
        let windows = section.read("windows", windows);
        let max_rate = section.read("max_rate", rate);
        let tls_min = section.read("tls_min", values::word);
        let tls_max = section.read("tls_max", values::word);
        let proxy = section.read("proxy", proxy);
        let network = Self {
            mode: mode?,
            active_ports,
            active_address,
            passive: passive?,
            windows: windows?,
            max_rate: max_rate?,
            fleet_max_rate: None,
            tls_min: tls_min?,
            tls_max: tls_max?,
            proxy: proxy?,
        };
        if network.is_active_through_a_proxy() {
            let fault =
                "must be \"passive\" where there is a proxy: SOCKS5 servers hardly ever listen for others";
            section.conflict("mode", fault);
        }
        if network.tls_min > network.tls_max {
            section.conflict("tls_max", "must not be below tls_min");
        }
        Some(network)
    }

    fn is_active_through_a_proxy(&self) -> bool {
        self.mode == TransferMode::Active && self.proxy.is_some()
    }

    /// Describes what differs from the usual; nothing where all is as usual.
    #[must_use]
    pub fn describe(&self, tls: TlsMode) -> Vec<String> {
        let rate = |rate: u64| bytesize::ByteSize(rate).display().si().to_string();
        let mut words = Vec::new();
        match (self.mode, self.passive) {
            (TransferMode::Active, _) => words.push("active mode".to_owned()),
            (_, PassiveCommand::Pasv) => words.push("PASV alone".to_owned()),
            (_, PassiveCommand::Epsv) => words.push("EPSV alone".to_owned()),
            _ => {}
        }
        words.extend(self.proxy.as_ref().map(|proxy| format!("through the proxy {proxy}")));
        if tls != TlsMode::Off && self.tls_max == TlsVersion::Tls12 {
            words.push("TLS 1.2 at most".to_owned());
        }
        words.extend(self.max_rate.map(|most| format!("at most {} a second", rate(most))));
        words
    }
}

/// `50000-50100`, or a single port.
fn ports(value: &Value) -> Result<RangeInclusive<u16>, String> {
    let text = values::text(value)?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if FIRST_PORT <= first && first <= last => Ok(first..=last),
        _ => Err(format!("must be a range of ports from {FIRST_PORT} to 65535, such as \"50000-50100\"")),
    }
}

fn address(value: &Value) -> Result<IpAddr, String> {
    let address = values::text(value)?.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
    address.ok_or_else(|| "must be an address, such as \"203.0.113.7\"".to_owned())
}

fn windows(value: &Value) -> Result<Windows, String> {
    let wrong = "must be a list of strings, such as [\"22:00-06:00\"]";
    let ValueKind::Array(list) = &value.kind else { return Err(wrong.to_owned()) };
    let texts: Result<Vec<&str>, _> = list.iter().map(values::text).collect();
    Windows::read(&texts.map_err(|_| wrong.to_owned())?)
}

/// `10MB/s`, `10MB` or a number of bytes; 0 is no limit.
pub(super) fn rate(value: &Value) -> Result<Option<u64>, String> {
    let bytes = match &value.kind {
        ValueKind::String(text) => {
            let size = text.trim().strip_suffix("/s").unwrap_or(text);
            values::bytes_or_none(&Value::new(None, size))
        }
        _ => values::bytes_or_none(value),
    };
    match bytes {
        Ok(0) => Ok(None),
        Ok(bytes) if bytes >= SLOWEST_RATE => Ok(Some(bytes)),
        _ => Err("must be 0 for no limit, or 1KiB/s and up, such as \"10MB/s\"".to_owned()),
    }
}

/// `socks5://[user:password@]host[:port]`, with `socks5h` for names that the proxy looks up; `off` for none. The error
/// never shows it.
fn proxy(value: &Value) -> Result<Option<Proxy>, String> {
    let text = values::text(value)?;
    if text == "off" {
        return Ok(None);
    }
    let wrong = || "must be \"off\", or like \"socks5://host:1080\" or \"socks5h://user:password@host:1080\"";
    let url = Url::parse(text).map_err(|_| wrong())?;
    let resolves = match url.scheme() {
        "socks5" => false,
        "socks5h" => true,
        _ => return Err(wrong().to_owned()),
    };
    let host = url.host_str().ok_or_else(wrong)?;
    let nothing_else = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !nothing_else {
        return Err(wrong().to_owned());
    }
    let host = values::host(&Value::new(None, host))?;
    let login = login(&url)?;
    Ok(Some(Proxy { host, port: url.port().unwrap_or(SOCKS_PORT), resolves, login }))
}

fn login(url: &Url) -> Result<Option<(String, Password)>, String> {
    let decode = |text: &str| urlencoding::decode(text).map(|text| text.into_owned());
    let wrong = || format!("must have a user and a password of 1 to {MAX_PROXY_WORD} bytes each, or none");
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) => {
            let (user, password) =
                (decode(user).map_err(|_| wrong())?, decode(password).map_err(|_| wrong())?);
            let fits = |text: &str| (1..=MAX_PROXY_WORD).contains(&text.len());
            if !fits(&user) || !fits(&password) {
                return Err(wrong());
            }
            Ok(Some((user, Password::new(password))))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            mode: TransferMode::Passive,
            active_ports: None,
            active_address: None,
            passive: PassiveCommand::Auto,
            windows: Windows::default(),
            max_rate: None,
            fleet_max_rate: None,
            tls_min: TlsVersion::Tls12,
            tls_max: TlsVersion::Tls13,
            proxy: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::{SERVER, faults, load, server};

    fn network(keys: &str) -> NetworkSettings {
        server(keys).network
    }

    #[test]
    fn what_is_left_out_is_as_it_was() {
        assert_eq!(network(""), NetworkSettings::default());
        assert_eq!(network("max_rate = 0\nwindows = []\nproxy = 'off'"), NetworkSettings::default());
        assert!(NetworkSettings::default().describe(TlsMode::Explicit).is_empty());
    }

    #[test]
    fn every_key_is_taken_from_a_server_and_from_the_defaults() {
        let keys = "mode = 'active'\nactive_ports = '50000-50100'\nactive_address = '203.0.113.7'\n\
                    passive = 'epsv'\nwindows = ['22:00-06:00']\nmax_rate = '10MB/s'\n\
                    tls_min = '1.2'\ntls_max = '1.2'\n";
        let from_defaults = load(&format!("[defaults]\n{keys}{SERVER}")).unwrap().remove(0).network;
        let network = network(keys);
        assert_eq!(from_defaults, network);
        assert_eq!((network.mode, network.active_ports), (TransferMode::Active, Some(50_000..=50_100)));
        assert_eq!(network.active_address, Some(IpAddr::from([203, 0, 113, 7])));
        assert_eq!((network.passive, network.max_rate), (PassiveCommand::Epsv, Some(10_000_000)));
        assert_eq!((network.tls_min, network.tls_max), (TlsVersion::Tls12, TlsVersion::Tls12));
        assert!(!network.windows.is_always());
    }

    /// interface 5.11
    #[test]
    fn a_server_takes_back_what_the_defaults_say() {
        let defaults = "[defaults]\nproxy = 'socks5://p'\nmax_rate = '1MB'\nwindows = ['22:00-06:00']\n";
        let keys = "proxy = 'off'\nmax_rate = '0'\nwindows = []\nmode = 'active'\n";
        let servers = load(&format!("{defaults}{SERVER}{keys}")).unwrap();
        let expected = NetworkSettings { mode: TransferMode::Active, ..NetworkSettings::default() };
        assert_eq!(servers[0].network, expected);
    }

    #[test]
    fn the_fleets_limit_reaches_every_server() {
        let servers = load(&format!("[sync]\nmax_rate = '2MiB/s'\n{SERVER}max_rate = '1MiB'\n")).unwrap();
        let NetworkSettings { max_rate, fleet_max_rate, .. } = servers[0].network;
        assert_eq!((max_rate, fleet_max_rate), (Some(1 << 20), Some(2 << 20)));
        let faults = load(&format!("[sync]\nmax_rate = 'fast'\n{SERVER}")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with("sync.max_rate: must be 0"), "{faults:?}");
    }

    #[test]
    fn wrong_values_are_named_by_their_key_and_show_no_secret() {
        for (keys, key, fault) in [
            ("mode = 'port'", "mode", "unknown variant"),
            ("active_ports = '50100-50000'", "active_ports", "must be a range"),
            ("active_ports = '80-90'", "active_ports", "must be a range"),
            ("active_ports = 50000", "active_ports", "must be a string"),
            ("active_address = '0.0.0.0'", "active_address", "must be an address"),
            ("active_address = 'me'", "active_address", "must be an address"),
            ("passive = 'lpsv'", "passive", "unknown variant"),
            ("windows = '22:00-06:00'", "windows", "must be a list"),
            ("windows = ['late']", "windows", "\"late\" must be"),
            ("max_rate = '1023'", "max_rate", "must be 0"),
            ("max_rate = -1", "max_rate", "must be 0"),
            ("max_rate = '10MB/m'", "max_rate", "must be 0"),
            ("tls_max = '1.1'", "tls_max", "unknown variant"),
            ("tls_max = 1.2", "tls_max", "must be a string"),
            ("tls_min = '1.3'\ntls_max = '1.2'", "tls_max", "must not be below tls_min"),
            ("proxy = 'http://geheim'", "proxy", "must be \"off\""),
            ("proxy = 'geheim'", "proxy", "must be \"off\""),
            ("proxy = 'socks5://u:geheim@h/x'", "proxy", "must be \"off\""),
            ("proxy = 'socks5://geheim@h'", "proxy", "must have a user and a password"),
            ("proxy = 'socks5://:geheim@h'", "proxy", "must have a user and a password"),
            ("proxy = 'socks5://h'\nmode = 'active'", "mode", "must be \"passive\""),
        ] {
            let faults = faults(keys);
            let begin = format!("servers[0] (omc01).{key}: {fault}");
            assert!(faults.len() == 1 && faults[0].starts_with(&begin), "{keys}: {faults:?}");
            assert!(!faults[0].contains("geheim"), "{faults:?}");
        }
    }

    /// interface 6.11
    #[test]
    fn values_that_do_not_fit_each_other_are_told_where_they_meet_and_once() {
        let both = "mode = 'active'\nproxy = 'socks5://h'\n";
        let two = format!("[defaults]\n{both}{SERVER}[[servers]]\nname = 'b'\nhost = 'h'\n");
        let faults = load(&two).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with("defaults.mode: "), "{faults:?}");
        let faults =
            load(&format!("[defaults]\nmode = 'active'\n{SERVER}proxy = 'socks5://h'\n")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with("servers[0] (omc01).mode: "), "{faults:?}");
    }

    /// interface 6.11
    #[test]
    fn a_proxy_is_a_url_whose_password_is_never_shown() {
        let proxy = |text: &str| network(&format!("proxy = '{text}'")).proxy.unwrap();
        let plain = proxy("socks5://10.0.0.9");
        assert_eq!((plain.to_string().as_str(), plain.resolves), ("10.0.0.9:1080", false));
        assert_eq!(plain.login, None);
        let full = proxy("socks5h://m%40x:ge%3Aheim@[::1]:9050/");
        assert_eq!((full.to_string().as_str(), full.resolves), ("[::1]:9050", true));
        assert_eq!(full.login, Some(("m@x".to_owned(), Password::new("ge:heim"))));
        assert!(!format!("{full:?} {full}").contains("heim"));
    }
}
