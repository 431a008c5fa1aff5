//! What two processes prove to each other, and what they compare.
//!
//! A proof is an HMAC over everything that both sides have said, a label for its direction, and
//! what is particular to the connection (`binding`). Both sides choose a random number for each
//! handshake, so a recording is worth nothing, and the labels differ, so neither can be made to
//! prove its own words.

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;

use super::connect::lost;
use super::tls::{ALERT_PROTOCOL_VERSION, is_of_tls};
use super::wire::{
    Claims, Code, Hello, Nonce, Unread, Verdict, encode_challenge, read_challenge, read_proof,
};
use super::{Member, Peer, Purpose};
use crate::error::{Error, ErrorKind, Result};

const LABEL_CONNECT: &[u8] = b"floodmark peer: connects";
const LABEL_ACCEPT: &[u8] = b"floodmark peer: accepts";
const SAME_START: &str = "start every process with the same addresses, each with its own --process";

/// What keeps a proof from being carried to another connection: of TLS its keys, else nothing.
pub type Binding = [u8; 32];

/// Why a handshake came to nothing on the listening side.
#[derive(Debug)]
pub enum Failed {
    /// The other side is no process of a cluster, or went away.
    Unread(Unread),
    /// The other side was told why.
    Refused(String),
}

impl From<Unread> for Failed {
    fn from(unread: Unread) -> Self {
        Failed::Unread(unread)
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Failed::Unread(Unread::Lost(error))
    }
}

/// A refusal: which kind, and why.
pub type Refusal = (Code, String);

/// The connecting side. An error of kind [`ErrorKind::Io`] may pass; the others are final.
pub fn introduce(
    member: &Member,
    to: usize,
    purpose: Purpose,
    epoch: u64,
    channel: &mut (impl Read + Write),
    binding: &Binding,
) -> Result<()> {
    let address = member.addresses.get(to).map_or("", String::as_str);
    let failed = |unread| unread_by(to, address, unread);
    let lost = |error| failed(Unread::Lost(error));
    let claims = claims(member);
    let hello = Hello { nonce: nonce()?, purpose, epoch, to: to as u32, claims };
    let hello = hello.encode();
    channel.write_all(&hello).and_then(|()| channel.flush()).map_err(lost)?;
    let challenge = encode_challenge(&read_challenge(channel).map_err(failed)?);
    let proof = member.secret.prove(&[LABEL_CONNECT, binding, &hello, &challenge]);
    channel.write_all(&proof).and_then(|()| channel.flush()).map_err(lost)?;
    let Some((verdict, bytes)) = Verdict::read(channel).map_err(failed)? else {
        return Err(Error::config(format!(
            "process {to} at {address} refuses the connection: this process does not know its \
             cluster secret"
        ))
        .with_hint("give every process the same cluster secret"));
    };
    let answer = read_proof(channel).map_err(failed)?;
    let transcript = [LABEL_ACCEPT, binding, &hello, &challenge, &proof, &bytes];
    if !member.secret.holds(&transcript, &answer) {
        return Err(Error::config(format!(
            "what answers at {address} does not know the cluster secret"
        ))
        .with_hint("give every process the same cluster secret"));
    }
    judge(member, to, address, verdict)
}

/// What the connecting side makes of a verdict that is proved.
fn judge(member: &Member, to: usize, address: &str, verdict: Verdict) -> Result<()> {
    let kind = match verdict.code {
        Code::Welcome => match disagreement(member, &verdict.claims, to) {
            None => return Ok(()),
            Some(reason) => return Err(Error::config(reason).with_hint(SAME_START)),
        },
        Code::Conflict => ErrorKind::Conflict,
        Code::Disagreement | Code::Unproven => ErrorKind::Config,
    };
    let reason = verdict.reason;
    Err(Error::new(kind, format!("process {to} at {address} refuses the connection: {reason}")))
}

fn unread_by(to: usize, address: &str, unread: Unread) -> Error {
    match unread {
        Unread::Lost(error) => lost(to, address, &error),
        Unread::Foreign => Error::config(format!(
            "what answers at {address} is no process of a cluster of this version"
        ))
        .with_hint(SAME_START),
        Unread::Tls => {
            Error::config(format!("what answers at {address} speaks TLS, this process does not"))
                .with_hint("give every process a certificate, or none")
        }
    }
}

/// The listening side up to the proof. What is given back is proved, but not agreed upon.
pub fn examine(
    member: &Member,
    channel: &mut (impl Read + Write),
    binding: &Binding,
) -> Result<Examined, Failed> {
    let (hello, hello_bytes) = match Hello::read(channel) {
        Err(Unread::Tls) => {
            // In its own words, so that it knows why.
            channel.write_all(&ALERT_PROTOCOL_VERSION)?;
            channel.flush()?;
            return Err(Unread::Tls.into());
        }
        read => read?,
    };
    let nonce = nonce().map_err(|error| Failed::Refused(error.message))?;
    let challenge = encode_challenge(&nonce);
    channel.write_all(&challenge)?;
    channel.flush()?;
    let proof = read_proof(channel)?;
    let label = LABEL_CONNECT;
    if !member.secret.holds(&[label, binding, &hello_bytes, &challenge], &proof) {
        Verdict::write_unproven(channel)?;
        return Err(Failed::Refused("it does not know the cluster secret".to_string()));
    }
    let said = [hello_bytes, challenge, proof.to_vec()];
    Ok(Examined { hello, said })
}

/// A hello whose sender knows the secret.
pub struct Examined {
    hello: Hello,
    /// The messages so far.
    said: [Vec<u8>; 3],
}

impl Examined {
    /// Who it is, if it is right; `remote` is where it connects from.
    pub fn peer(&self, remote: SocketAddr) -> Peer {
        let Hello { claims, purpose, epoch, .. } = &self.hello;
        Peer {
            process: claims.process as usize,
            workers: claims.workers as usize,
            purpose: *purpose,
            epoch: *epoch,
            version: claims.version.clone(),
            remote,
        }
    }

    /// Tells the other side what was decided.
    pub fn answer(
        &self,
        member: &Member,
        channel: &mut (impl Read + Write),
        binding: &Binding,
        refusal: Option<Refusal>,
    ) -> std::io::Result<()> {
        let (code, reason) = refusal.unwrap_or((Code::Welcome, String::new()));
        let verdict = Verdict { code, claims: claims(member), reason }.encode();
        let [hello, challenge, proof] = &self.said;
        let transcript = [LABEL_ACCEPT, binding, hello, challenge, proof, &verdict];
        let answer = member.secret.prove(&transcript);
        channel.write_all(&[&verdict[..], &answer].concat())?;
        channel.flush()
    }

    /// Why the two processes cannot be of one cluster, if so.
    pub fn disagreement(&self, member: &Member) -> Option<Refusal> {
        let (from, to) = (self.hello.claims.process as usize, self.hello.to as usize);
        let own = member.process;
        let reason = if to != own {
            Some(format!("process {own} is here, not process {to}"))
        } else if from == own {
            Some(format!("process {own} is here already"))
        } else {
            disagreement(member, &self.hello.claims, from)
        };
        reason.map(|reason| (Code::Disagreement, reason))
    }
}

/// What `claims` and `member` do not have in common, the most telling first.
fn disagreement(member: &Member, claims: &Claims, process: usize) -> Option<String> {
    let own = self::claims(member);
    let me = member.process;
    let differ = |what: &str, mine: &dyn std::fmt::Display, theirs: &dyn std::fmt::Display| {
        Some(format!("process {me} has {what} {mine}, process {process} has {theirs}"))
    };
    if own.version != claims.version {
        return differ("version", &own.version, &claims.version);
    }
    if own.cluster != claims.cluster {
        return differ("the cluster id", &own.cluster, &claims.cluster);
    }
    if own.processes != claims.processes {
        return differ("a number of processes of", &own.processes, &claims.processes);
    }
    if own.workers != claims.workers {
        return differ("a number of workers of", &own.workers, &claims.workers);
    }
    if claims.process as usize != process || claims.process >= own.processes {
        let (processes, found) = (own.processes, claims.process);
        return Some(format!("process {found} is none that is expected of {processes} processes"));
    }
    if own.plan != claims.plan {
        return Some(format!(
            "processes {me} and {process} were given different scripts or settings"
        ));
    }
    None
}

fn claims(member: &Member) -> Claims {
    Claims {
        process: member.process as u32,
        processes: member.processes() as u32,
        workers: member.workers as u32,
        plan: member.plan,
        version: member.version.clone(),
        cluster: member.cluster.clone(),
    }
}

fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce)
        .map_err(|e| Error::new(ErrorKind::Io, format!("random numbers of the system: {e}")))?;
    Ok(nonce)
}

/// How it is told in a log.
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::io::ErrorKind::{TimedOut, UnexpectedEof, WouldBlock};
        match self {
            Failed::Refused(reason) => f.write_str(reason),
            Failed::Unread(Unread::Foreign) => {
                f.write_str("it does not speak as a process of a cluster")
            }
            Failed::Unread(Unread::Tls) => f.write_str("it speaks TLS, this process does not"),
            Failed::Unread(Unread::Lost(error)) => match error.kind() {
                UnexpectedEof => f.write_str("it went away before it had said who it is"),
                WouldBlock | TimedOut => f.write_str("it did not say in time who it is"),
                _ if is_of_tls(error) => write!(f, "TLS: {error}"),
                _ => error.fmt(f),
            },
        }
    }
}
