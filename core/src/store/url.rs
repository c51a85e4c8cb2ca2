//! The database URL, in libpq's form: `postgresql://user:password@host1:port1,host2:port2/database?parameter=value`.
//!
//! Parameters of libpq's that are known: `host`, `hostaddr`, `port`, `dbname`, `user`, `password`, `sslmode`, `sslrootcert`, `sslcert`,
//! `sslkey`, `application_name`, `options`, `target_session_attrs`, `load_balance_hosts`, `connect_timeout`. Our own:
//! - `connect_timeout`: seconds that clients wait for a database that does not answer; default 30
//! - `pgbouncer=true`: the URL leads to a pooler in transaction mode. Statements are then not cached by name, and each runs in an
//!   explicit transaction, because a prepared statement would not meet its own server again (rule o). It costs two round trips a statement;
//!   with PgBouncer 1.21 or later and `max_prepared_statements` above 0 it is not needed.
//! - `direct_url`: (percent-encoded) a URL past the pooler, for LISTEN. Without it a worker behind a pooler polls.
//!
//! No error here repeats any part of a URL that may hold a secret: hosts, ports and names of parameters are named, values are not.
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::seq::SliceRandom;
use sqlx::postgres::PgConnectOptions;

use crate::base::error::{Error, Result};

/// A parsed URL.
#[derive(Clone, Debug)]
pub struct Target {
    pub main: Hosts,
    pub connect_timeout: Duration,
    /// The URL leads to a transaction pooler.
    pub pooler: bool,
    pub listening: Listening,
}

/// Where LISTEN works.
#[derive(Clone, Debug)]
pub enum Listening {
    /// On every connection.
    Here,
    /// At the servers of `direct_url`.
    Elsewhere(Hosts),
    /// Nowhere: there is a pooler, and no way past it.
    Nowhere,
}

/// The servers of one database, and which of them to use.
#[derive(Clone, Debug)]
pub struct Hosts {
    pub options: Vec<PgConnectOptions>,
    pub wanted: Wanted,
    /// `load_balance_hosts=random`: in another order for each connection.
    random: bool,
    /// The place of the host that was connected to last: it is tried first.
    last: Arc<AtomicUsize>,
}

/// The required kind of server: libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Wanted {
    fn parse(text: &str) -> Option<Wanted> {
        Some(match text {
            "any" => Wanted::Any,
            "read-write" => Wanted::ReadWrite,
            "read-only" => Wanted::ReadOnly,
            "primary" => Wanted::Primary,
            "standby" => Wanted::Standby,
            "prefer-standby" => Wanted::PreferStandby,
            _ => return None,
        })
    }

    /// Why a server cannot be used, or None if it can.
    pub fn objection(self, standby: bool, read_only: bool) -> Option<&'static str> {
        match self {
            Wanted::ReadWrite if standby => Some("it is a stand-by"),
            Wanted::ReadWrite if read_only => Some("it is read-only"),
            Wanted::ReadOnly if !read_only && !standby => Some("it takes writes"),
            Wanted::Primary if standby => Some("it is a stand-by"),
            Wanted::Standby | Wanted::PreferStandby if !standby => Some("it is no stand-by"),
            _ => None,
        }
    }

    /// Whether a server where that holds takes writes.
    pub fn writes(self) -> bool {
        matches!(self, Wanted::Any | Wanted::ReadWrite | Wanted::Primary)
    }
}

impl Hosts {
    /// Places in `options`, in the order in which they are tried.
    pub fn order(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.options.len()).collect();
        if self.random {
            places.shuffle(&mut rand::rng());
        } else {
            places.swap(0, self.last.load(Ordering::Relaxed));
            places[1..].sort_unstable();
        }
        places
    }

    pub fn connected(&self, place: usize) {
        self.last.store(place, Ordering::Relaxed);
    }

    pub fn several(&self) -> bool {
        self.options.len() > 1
    }

    /// Whether a connection may need another host than the first one: there are several, or one of a certain kind is wanted.
    pub fn choosy(&self) -> bool {
        self.several() || self.wanted != Wanted::Any
    }

    /// Host, port and database, for errors.
    pub fn address(&self, place: usize) -> String {
        let options = &self.options[place];
        let database = options.get_database().unwrap_or(options.get_username());
        format!("{}/{database}", host_and_port(options))
    }
}

/// An address of IPv6 has brackets.
pub fn host_and_port(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if options.get_host().contains(':') => format!("[{}]", options.get_host()),
        None => options.get_host().to_owned(),
    };
    format!("{host}:{}", options.get_port())
}

impl Target {
    pub fn parse(url: &str) -> Result<Target> {
        let parts = Parts::split(url)?;
        let mut connect_timeout = Duration::from_secs(30);
        let (mut pooler, mut direct_url) = (false, None);
        for (name, value) in &parts.parameters {
            match name.as_str() {
                "connect_timeout" => connect_timeout = seconds(value)?,
                "pgbouncer" => pooler = value.parse().map_err(|_| wrong("pgbouncer must be true or false"))?,
                "direct_url" => direct_url = Some(value),
                _ => {}
            }
        }
        let main = parts.hosts(pooler)?;
        let listening = match (direct_url, pooler) {
            (Some(direct), _) => {
                Listening::Elsewhere(Parts::split(direct).and_then(|parts| parts.hosts(false)).map_err(of_direct)?)
            }
            (None, false) => Listening::Here,
            (None, true) => Listening::Nowhere,
        };
        Ok(Target { main, connect_timeout, pooler, listening })
    }

    /// Refuses a URL whose servers can never take a write: a worker would try for ever.
    pub fn check_writes(&self) -> Result<()> {
        let beside = matches!(&self.listening, Listening::Elsewhere(hosts) if !hosts.wanted.writes());
        if self.main.wanted.writes() && !beside {
            return Ok(());
        }
        Err(wrong("a worker writes: target_session_attrs must be read-write, primary or any"))
    }

    /// Adds to an error of connecting which server could not be reached.
    pub fn explain(&self, error: sqlx::Error) -> Error {
        explain(error, &self.main.address(self.main.last.load(Ordering::Relaxed)))
    }
}

/// Adds to an error of connecting the address of its server.
pub fn explain(error: sqlx::Error, address: &str) -> Error {
    match Error::of_connecting(error) {
        Error::Unavailable(message) => Error::Unavailable(format!("{message} ({address})")),
        Error::Refused(message) => Error::Refused(format!("{message} ({address})")),
        other => other,
    }
}

fn wrong(what: &str) -> Error {
    Error::Refused(format!("the database URL is wrong: {what}"))
}

fn of_direct(error: Error) -> Error {
    Error::Refused(format!("{error} (direct_url)"))
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| wrong("connect_timeout must be a number of seconds"))
}

/// A URL in parts, decoded. User, password and database in front of the `?` are parameters like those behind it, which count more.
struct Parts {
    /// (host, port), of which either may be empty.
    hosts: Vec<(String, String)>,
    parameters: Vec<(String, String)>,
}

impl Parts {
    fn split(url: &str) -> Result<Parts> {
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"));
        let rest = rest.ok_or_else(|| wrong("it must start with postgresql://"))?;
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = base.split_once('/').unwrap_or((base, ""));
        let (user, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let what = if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') { name } else { "a parameter" };
            parameters.push((decoded(name, what)?, decoded(value, what)?));
        }
        let hosts = hosts.split(',').map(host).collect::<Result<_>>()?;
        let mut given = Vec::new();
        if let Some(user) = user.strip_suffix('@') {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            given.push(("user".to_owned(), decoded(name, "the user")?));
            given.push(("password".to_owned(), decoded(password, "the password")?));
        }
        given.push(("dbname".to_owned(), decoded(database, "the database")?));
        given.retain(|(_, value)| !value.is_empty());
        given.extend(parameters);
        Ok(Parts { hosts, parameters: given })
    }

    /// The last value of a parameter.
    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn list(&self, name: &str) -> Option<Vec<String>> {
        self.parameter(name).map(|list| list.split(',').map(str::to_owned).collect())
    }

    /// (host, port) of each server. `host`, `hostaddr` and `port` among the parameters come before those in front of the path; one port
    /// is that of all hosts.
    fn servers(&self) -> Result<Vec<(String, Option<u16>)>> {
        let mut hosts: Vec<String> = self.hosts.iter().map(|(host, _)| host.clone()).collect();
        let mut ports: Vec<String> = self.hosts.iter().map(|(_, port)| port.clone()).collect();
        for name in ["host", "hostaddr"] {
            let Some(list) = self.list(name) else { continue };
            if name == "hostaddr" && list.iter().any(|address| address.parse::<IpAddr>().is_err()) {
                return Err(wrong("hostaddr must be IP addresses"));
            }
            if ports.len() != list.len() {
                ports = vec![ports[0].clone(); list.len()];
            }
            hosts = list;
        }
        if let Some(list) = self.list("port") {
            ports = if list.len() == 1 { vec![list[0].clone(); hosts.len()] } else { list };
        }
        if ports.len() != hosts.len() {
            return Err(wrong(&format!("there are {} ports for {} hosts", ports.len(), hosts.len())));
        }
        hosts.into_iter().zip(ports).map(|(host, port)| Ok((host, port_number(&port)?))).collect()
    }

    fn hosts(&self, pooler: bool) -> Result<Hosts> {
        let servers = self.servers()?;
        let wanted = match self.parameter("target_session_attrs") {
            None if servers.len() > 1 => Wanted::ReadWrite,
            None => Wanted::Any,
            Some(text) => Wanted::parse(text).ok_or_else(|| {
                wrong("target_session_attrs must be any, read-write, read-only, primary, standby or prefer-standby")
            })?,
        };
        let random = match self.parameter("load_balance_hosts") {
            None | Some("disable") => false,
            Some("random") => true,
            Some(_) => return Err(wrong("load_balance_hosts must be disable or random")),
        };
        let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
        if self.parameter("sslmode").is_some_and(|mode| !modes.contains(&mode)) {
            return Err(wrong(&format!("sslmode must be one of {}", modes.join(", "))));
        }
        if self.parameter("sslmode") == Some("verify-full") && self.parameter("hostaddr").is_some() {
            return Err(wrong("hostaddr cannot be used with sslmode=verify-full, which compares the host's name"));
        }
        let options = servers.iter().map(|(host, port)| self.options(host, *port, pooler)).collect::<Result<_>>()?;
        Ok(Hosts { options, wanted, random, last: Arc::default() })
    }

    /// The options for one server. The driver parses the rest: its defaults, its environment variables (`PGUSER` ...) and the password file.
    fn options(&self, host: &str, port: Option<u16>, pooler: bool) -> Result<PgConnectOptions> {
        let known = self.parameters.iter().filter(|(name, _)| is_the_drivers(name));
        let mut query: Vec<String> =
            known.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        if !host.is_empty() {
            query.push(format!("host={}", encoded(host)));
        }
        query.extend(port.map(|port| format!("port={port}")));
        let url = format!("postgresql:///?{}", query.join("&"));
        let mut options: PgConnectOptions =
            url.parse().map_err(|error: sqlx::Error| wrong(&self.without_secrets(&error)))?;
        if options.get_application_name().is_none() {
            options = options.application_name("currant");
        }
        // Poolers refuse start-up parameters that they do not know; 1 is the server's default since Postgres 12 anyway.
        options = options.extra_float_digits(None);
        Ok(if pooler { options.statement_cache_capacity(0) } else { options })
    }

    /// The driver's message about a parameter may repeat its value.
    fn without_secrets(&self, error: &sqlx::Error) -> String {
        let mut text = error.to_string();
        for (_, secret) in self.parameters.iter().filter(|(name, _)| name == "password") {
            text = text.replace(secret, "***");
        }
        text
    }
}

/// A warning of the driver's about a parameter that it does not know would show its value.
fn is_the_drivers(name: &str) -> bool {
    const KNOWN: &[&str] = &[
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    const OURS: &[&str] = &[
        "host",
        "hostaddr",
        "port",
        "target_session_attrs",
        "load_balance_hosts",
        "connect_timeout",
        "pgbouncer",
        "direct_url",
    ];
    if KNOWN.contains(&name) || name.starts_with("options[") {
        return true;
    }
    if !OURS.contains(&name) {
        tracing::warn!(parameter = name, "the database URL has a parameter that is not known; it is left out");
    }
    false
}

/// `host`, `host:port`, `[address]` or `[address]:port`, each percent-encoded.
fn host(text: &str) -> Result<(String, String)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or_else(|| wrong("a host begins with [ and has no ]"))?;
            let port = match rest.strip_prefix(':') {
                Some(port) => port,
                None if rest.is_empty() => "",
                None => return Err(wrong("after the ] of a host comes : and its port")),
            };
            let bare = address.split('%').next().unwrap_or("");
            if !matches!(bare.parse::<IpAddr>(), Ok(IpAddr::V6(_))) {
                return Err(wrong("between [ and ] stands an address of IPv6"));
            }
            (address, port)
        }
        None if text.matches(':').count() > 1 => {
            return Err(wrong("an address of IPv6 needs brackets: [::1]:5432"));
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    Ok((decoded(host, "a host")?, port.to_owned()))
}

fn port_number(text: &str) -> Result<Option<u16>> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(wrong("a port must be a number from 1 to 65535")),
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decoded(text: &str, what: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|d| (d as char).to_digit(16)));
        match digits {
            [Some(high), Some(low)] => bytes.push((high * 16 + low) as u8),
            _ => return Err(wrong(&format!("{what} is not percent-encoded"))),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong(&format!("{what} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Vec<String> {
        let hosts = Target::parse(url).unwrap().main;
        (0..hosts.options.len()).map(|place| hosts.address(place)).collect()
    }

    #[test]
    fn every_form_of_a_host_is_understood() {
        for (url, expected) in [
            ("postgresql://u:p@h/d", vec!["h:5432/d"]),
            ("postgres://u@h:6432", vec!["h:6432/u"]),
            ("postgresql://u@[::1]:5433/d", vec!["[::1]:5433/d"]),
            ("postgresql://u@[2001:db8::7]/d", vec!["[2001:db8::7]:5432/d"]),
            ("postgresql://u:p@h1:5432,h2:5433/d", vec!["h1:5432/d", "h2:5433/d"]),
            ("postgresql://u:p@h1,[::1]:5433,h3/d", vec!["h1:5432/d", "[::1]:5433/d", "h3:5432/d"]),
            ("postgresql://u:p@h1:,h2:5433/d", vec!["h1:5432/d", "h2:5433/d"]),
            ("postgresql://u@/d?host=h1,h2&port=5433", vec!["h1:5433/d", "h2:5433/d"]),
            ("postgresql:///d?host=h1,h2&port=5433,5434&user=u", vec!["h1:5433/d", "h2:5434/d"]),
            ("postgresql://u@h:6000/d?hostaddr=10.0.0.1,::1", vec!["10.0.0.1:6000/d", "[::1]:6000/d"]),
            ("postgresql://u@h1,h2/d?port=6000", vec!["h1:6000/d", "h2:6000/d"]),
            ("postgresql://u@%2Fvar%2Frun%2Fpg:5433/d", vec!["/var/run/pg:5433/d"]),
            ("postgresql://u@/d?host=/var/run/pg", vec!["/var/run/pg:5432/d"]),
            ("postgresql://u:a%40b%2Fc@h/a%20b", vec!["h:5432/a b"]),
            ("postgresql://u:a@b#c@h/d", vec!["h:5432/d"]),
        ] {
            assert_eq!(addresses(url), expected, "{url}");
        }
    }

    #[test]
    fn a_socket_is_one_and_a_parameter_counts_more_than_what_is_in_front_of_it() {
        let target = Target::parse("postgresql://u:p@%2Ftmp%2Fpg/d?user=other&dbname=e").unwrap();
        let options = &target.main.options[0];
        assert_eq!(options.get_socket().unwrap().to_str(), Some("/tmp/pg"));
        assert_eq!((options.get_username(), options.get_database()), ("other", Some("e")));
        assert_eq!(options.get_application_name(), Some("currant"));
    }

    #[test]
    fn a_wrong_url_is_refused_in_one_line_that_names_what_is_wrong_and_no_secret() {
        for (url, said) in [
            ("", "must start with postgresql://"),
            ("mysql://u:secret@h/d", "must start with postgresql://"),
            ("host=h password=secret", "must start with postgresql://"),
            ("postgresql://u:secret@h:port/d", "a port must be a number from 1 to 65535"),
            ("postgresql://u:secret@h:0/d", "a port must be a number"),
            ("postgresql://u:secret@h:65536/d", "a port must be a number"),
            ("postgresql://u:secret/x@h/d", "a port must be a number"),
            ("postgresql://u:secret@h1:1,h2:x/d", "a port must be a number"),
            ("postgresql://u:secret@::1/d", "needs brackets"),
            ("postgresql://u:secret@[::1/d", "has no ]"),
            ("postgresql://u:secret@[h]/d", "between [ and ]"),
            ("postgresql://u:secret@[::1]5432/d", "after the ]"),
            ("postgresql://u:secret%@h/d", "the password is not percent-encoded"),
            ("postgresql://u:secret@h%zz/d", "a host is not percent-encoded"),
            ("postgresql://u:secret@h/d?host=h1,h2&port=1,2,3", "3 ports for 2 hosts"),
            ("postgresql://u:secret@h/d?hostaddr=h", "hostaddr must be IP addresses"),
            ("postgresql://u:secret@h/d?hostaddr=::1&sslmode=verify-full", "hostaddr cannot be used with"),
            ("postgresql://u:secret@h/d?target_session_attrs=master", "target_session_attrs must be any, read-write"),
            ("postgresql://u:secret@h/d?load_balance_hosts=yes", "load_balance_hosts must be disable or random"),
            ("postgresql://u:secret@h/d?connect_timeout=soon", "connect_timeout must be a number of seconds"),
            ("postgresql://u:secret@h/d?pgbouncer=1", "pgbouncer must be true or false"),
            ("postgresql://u@h/d?password=secret&sslmode=perhaps", "sslmode must be one of disable, allow"),
            ("postgresql://u:secret@h/d?direct_url=postgresql%3A%2F%2Fu%3Asecret%40h%3Ax", "(direct_url)"),
            ("postgresql://u:secret@h/d?a secret=1%", "a parameter is not percent-encoded"),
        ] {
            let error = Target::parse(url).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Refused(_)), "{url}: {text}");
            assert!(text.starts_with("the database URL is wrong: ") && text.contains(said), "{url}: {text}");
            assert!(!text.contains("secret") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn several_hosts_without_a_word_take_writes() {
        let wanted = |url: &str| Target::parse(url).unwrap().main.wanted;
        assert_eq!(wanted("postgresql://u@h/d"), Wanted::Any);
        assert_eq!(wanted("postgresql://u@h1,h2/d"), Wanted::ReadWrite);
        assert_eq!(wanted("postgresql://u@h1,h2/d?target_session_attrs=any"), Wanted::Any);
        assert_eq!(wanted("postgresql://u@h/d?target_session_attrs=prefer-standby"), Wanted::PreferStandby);
    }

    #[test]
    fn a_server_is_taken_for_what_it_is() {
        // (stand-by, read-only): a primary, one that is read-only by its settings, a stand-by.
        let servers = [(false, false), (false, true), (true, true)];
        for (wanted, taken) in [
            (Wanted::Any, [true, true, true]),
            (Wanted::ReadWrite, [true, false, false]),
            (Wanted::ReadOnly, [false, true, true]),
            (Wanted::Primary, [true, true, false]),
            (Wanted::Standby, [false, false, true]),
            (Wanted::PreferStandby, [false, false, true]),
        ] {
            let takes = servers.map(|(standby, read_only)| wanted.objection(standby, read_only).is_none());
            assert_eq!(takes, taken, "{wanted:?}");
        }
    }

    #[test]
    fn a_worker_is_refused_where_nothing_can_be_written() {
        assert!(Target::parse("postgresql://u@h1,h2/d").unwrap().check_writes().is_ok());
        for wanted in ["read-only", "standby", "prefer-standby"] {
            let target = Target::parse(&format!("postgresql://u@h1,h2/d?target_session_attrs={wanted}")).unwrap();
            assert!(target.check_writes().unwrap_err().to_string().contains("a worker writes"));
        }
    }

    #[test]
    fn the_host_that_was_connected_to_last_is_tried_first() {
        let hosts = Target::parse("postgresql://u@h1,h2,h3/d").unwrap().main;
        assert_eq!(hosts.order(), [0, 1, 2]);
        hosts.connected(2);
        assert_eq!(hosts.order(), [2, 0, 1]);
        let random = Target::parse("postgresql://u@h1,h2,h3/d?load_balance_hosts=random").unwrap().main;
        let mut order = random.order();
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn behind_a_pooler_nothing_listens_unless_there_is_a_direct_url() {
        let listening = |url: &str| Target::parse(url).unwrap().listening;
        assert!(matches!(listening("postgres://u@h/d"), Listening::Here));
        assert!(matches!(listening("postgres://u@h/d?pgbouncer=true"), Listening::Nowhere));
        let direct = "postgres%3A%2F%2Fu%40one%2Ctwo%2Fd";
        let url = format!("postgres://u@h/d?pgbouncer=true&direct_url={direct}");
        let Listening::Elsewhere(hosts) = listening(&url) else { panic!("it listens at the direct URL") };
        assert_eq!((hosts.address(0).as_str(), hosts.address(1).as_str()), ("one:5432/d", "two:5432/d"));
    }
}
