//! The processes of a cluster, as a file names them: one line a process, in order.
//!
//! ```text
//! # host:port [http=host:port]
//! node-0:7100 http=node-0:8080
//! node-1:7100
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Location, Result};
use crate::limits::{HOSTFILE_BYTES_MAX, PROCESSES_MAX};

/// One process of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `host:port` that the other processes connect to.
    pub address: String,
    /// `host:port` where it takes HTTP requests, if that is told.
    pub http: Option<String>,
}

/// Reads the file at `path`.
pub fn read(path: &Path) -> Result<Vec<Host>> {
    let name = path.display().to_string();
    let failed = |error| Error::io(&name, &error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(HOSTFILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > HOSTFILE_BYTES_MAX {
        return Err(Error::config(format!("{name} is longer than {HOSTFILE_BYTES_MAX} bytes")));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Error::config(format!("{name} is not UTF-8 text")))?;
    parse(&name, &text)
}

/// The processes that `text` names; `name` is the file of its errors.
pub fn parse(name: &str, text: &str) -> Result<Vec<Host>> {
    let mut hosts = Vec::new();
    let mut taken = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = Line { name, number: index + 1, text: line };
        let mut words = line.words();
        let Some(address) = words.next() else { continue };
        line.claim(address, &mut taken)?;
        if hosts.len() == PROCESSES_MAX {
            let message = format!("a cluster has {PROCESSES_MAX} processes at most");
            return Err(Error::config(message).at(line.place(address)));
        }
        let mut host = Host { address: address.to_string(), http: None };
        for word in words {
            let Some(http) = word.strip_prefix("http=") else {
                return Err(Error::config(format!("'{word}' is not understood"))
                    .at(line.place(word))
                    .with_hint("a line is: host:port [http=host:port]"));
            };
            if host.http.is_some() {
                let message = "a process has one address for HTTP requests";
                return Err(Error::config(message).at(line.place(word)));
            }
            line.claim(http, &mut taken)?;
            host.http = Some(http.to_string());
        }
        hosts.push(host);
    }
    if hosts.is_empty() {
        return Err(Error::config(format!("{name} names no process"))
            .with_hint("one line a process: host:port [http=host:port]"));
    }
    Ok(hosts)
}

/// Addresses that an argument names.
pub fn check(addresses: &[String]) -> Result<()> {
    if addresses.len() > PROCESSES_MAX {
        return Err(Error::config(format!("a cluster has {PROCESSES_MAX} processes at most")));
    }
    for (index, address) in addresses.iter().enumerate() {
        check_address(address)?;
        if let Some(first) = addresses.iter().take(index).position(|other| other == address) {
            let message = format!("processes {first} and {index} both have the address {address}");
            return Err(Error::config(message));
        }
    }
    Ok(())
}

/// One line of the file.
struct Line<'a> {
    name: &'a str,
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn words(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let code = self.text.split_once('#').map_or(self.text, |(code, _)| code);
        code.split_whitespace()
    }

    /// `address` as one that no line before has; `taken` says which line has which.
    fn claim(&self, address: &'a str, taken: &mut BTreeMap<&'a str, usize>) -> Result<()> {
        check_address(address).map_err(|error| error.at(self.place(address)))?;
        match taken.insert(address, self.number) {
            None => Ok(()),
            Some(line) => {
                let message = format!("{address} is the address of line {line} already");
                Err(Error::config(message).at(self.place(address)))
            }
        }
    }

    /// Where `word`, a part of the line, stands.
    fn place(&self, word: &str) -> Location {
        let before = self.text.find(word).and_then(|at| self.text.get(..at)).unwrap_or_default();
        Location {
            file: self.name.to_string(),
            line: self.number,
            column: before.chars().count() + 1,
            width: word.chars().count(),
            text: self.text.to_string(),
        }
    }
}

/// Refuses what is no `host:port` that others can connect to.
fn check_address(address: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::config(format!("'{address}' is no address: {why}")));
    if address.contains('/') {
        return wrong("it is host:port, without a scheme or path");
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return wrong("it has no port, as in host:7100");
    };
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        return wrong("its port is no number from 1 to 65535");
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(v6) = bare {
        return match v6.parse::<std::net::Ipv6Addr>() {
            Ok(v6) if v6.is_unspecified() => wrong("others cannot connect to it"),
            Ok(_) => Ok(()),
            Err(_) => wrong("between the brackets is no IPv6 address"),
        };
    }
    if host.contains(':') {
        return wrong("an IPv6 address stands in brackets, as in [::1]:7100");
    }
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return wrong("it has no name of a host");
    }
    if host == "0.0.0.0" {
        return wrong("others cannot connect to it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse("hosts", text).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_processes_in_order() {
        let text = "# the first leads\n\nnode-0:7100 http=node-0:8080\r\n  10.0.0.2:7100\t# spare\n\
                    [::1]:7100 http=[::1]:8080";
        let host = |address: &str, http: Option<&str>| Host {
            address: address.to_string(),
            http: http.map(str::to_string),
        };
        let expected = [
            host("node-0:7100", Some("node-0:8080")),
            host("10.0.0.2:7100", None),
            host("[::1]:7100", Some("[::1]:8080")),
        ];
        assert_eq!(parse("hosts", text).unwrap(), expected);
    }

    #[test]
    fn an_error_names_file_and_line() {
        let message = refused("node-0:7100\n# two\n  node-1 # spare");
        assert!(message.contains("'node-1' is no address: it has no port"), "{message}");
        assert!(message.contains("--> hosts:3:3"), "{message}");
        for (text, part) in [
            ("a:1\nb:1\na:1", "a:1 is the address of line 1 already"),
            ("a:1 http=a:1", "a:1 is the address of line 1 already"),
            ("a:1 http=a:2\nb:1 http=a:2", "a:2 is the address of line 1 already"),
            ("a:1 http=a:2 http=a:3", "one address for HTTP"),
            ("a:1 b:1", "'b:1' is not understood"),
            ("a:0", "no number from 1 to 65535"),
            ("a:65536", "no number from 1 to 65535"),
            ("a:", "no number from 1 to 65535"),
            (":7100", "no name of a host"),
            ("http://a:7100", "without a scheme"),
            ("::1:7100", "in brackets"),
            ("[a]:7100", "no IPv6 address"),
            ("0.0.0.0:7100", "cannot connect to it"),
            ("[::]:7100", "cannot connect to it"),
            ("a:1 http=a", "'a' is no address"),
            ("", "names no process"),
            ("# nobody\n\n", "names no process"),
        ] {
            let message = refused(text);
            assert!(message.contains(part), "{text:?}: {message}");
        }
        let many: String = (0..=PROCESSES_MAX).map(|n| format!("node-{n}:7100\n")).collect();
        assert!(refused(&many).contains("processes at most"));
    }

    #[test]
    fn a_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "a:1\nb:2\n").unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).unwrap_err().message.contains("not UTF-8"));
        std::fs::write(&path, "#".repeat(HOSTFILE_BYTES_MAX as usize + 1)).unwrap();
        assert!(read(&path).unwrap_err().message.contains("longer than"));
        assert!(read(&dir.path().join("none")).unwrap_err().message.contains("none: "));
    }

    #[test]
    fn addresses_of_an_argument_are_checked() {
        let check = |list: &[&str]| check(&list.iter().map(|a| a.to_string()).collect::<Vec<_>>());
        assert!(check(&["a:1", "b:1"]).is_ok());
        assert!(check(&["a:1", "a:1"]).unwrap_err().message.contains("processes 0 and 1 both"));
        assert!(check(&["a:1", "b"]).unwrap_err().message.contains("no port"));
    }
}
