//! The messages of a handshake as bytes. All are of a fixed length or of one that is bounded before
//! anything is allocated; numbers are big-endian.

use std::io::{self, Read, Write};

use super::Purpose;
use super::secret::PROOF_BYTES;
use crate::limits::PEER_MESSAGE_BYTES_MAX;

/// The first bytes of each side; another protocol has others. They differ, so that a side that
/// hears itself knows.
const MAGIC_HELLO: [u8; 8] = *b"floodmH2";
const MAGIC_CHALLENGE: [u8; 8] = *b"floodmC2";

/// How many bytes tell a record of TLS.
const TLS_HEAD_BYTES: usize = 3;

/// A random number that is used once.
pub type Nonce = [u8; 32];

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub process: u32,
    pub processes: u32,
    pub workers: u32,
    pub plan: [u8; 32],
    pub version: String,
    pub cluster: String,
}

/// The first message of the connecting side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub nonce: Nonce,
    pub purpose: Purpose,
    pub epoch: u64,
    pub to: u32,
    pub claims: Claims,
}

/// How the listening side ends a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The connection is open.
    Welcome,
    /// The proof is wrong; nothing follows.
    Unproven,
    /// The processes were started differently.
    Disagreement,
    /// The process has no place now: its number is taken, its epoch is over.
    Conflict,
}

/// The last message of the listening side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: Code,
    pub claims: Claims,
    pub reason: String,
}

/// Why a message cannot be read.
#[derive(Debug)]
pub enum Unread {
    /// The connection failed, ended or was silent for too long.
    Lost(io::Error),
    /// The bytes are no message of this protocol.
    Foreign,
    /// The other side speaks TLS, and this one does not.
    Tls,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Unread::Lost(error)
    }
}

impl Hello {
    /// The message with its frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.nonce);
        body.push(match self.purpose {
            Purpose::Control => 1,
            Purpose::Data => 2,
            Purpose::Call => 3,
            Purpose::Http => 4,
        });
        body.extend_from_slice(&self.epoch.to_be_bytes());
        body.extend_from_slice(&self.to.to_be_bytes());
        self.claims.encode(&mut body);
        frame(&MAGIC_HELLO, &body)
    }

    /// The message and the bytes that it came in.
    pub fn read(from: &mut impl Read) -> Result<(Self, Vec<u8>), Unread> {
        let mut magic = [0; 8];
        from.read_exact(&mut magic)?;
        if magic != MAGIC_HELLO {
            return Err(foreign(&magic));
        }
        let body = read_body(from)?;
        let hello = Hello::decode(&body).ok_or(Unread::Foreign)?;
        Ok((hello, frame(&MAGIC_HELLO, &body)))
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body);
        let hello = Hello {
            nonce: fields.array()?,
            purpose: match fields.array::<1>()? {
                [1] => Purpose::Control,
                [2] => Purpose::Data,
                [3] => Purpose::Call,
                [4] => Purpose::Http,
                _ => return None,
            },
            epoch: u64::from_be_bytes(fields.array()?),
            to: fields.number()?,
            claims: Claims::decode(&mut fields)?,
        };
        fields.0.is_empty().then_some(hello)
    }
}

impl Claims {
    fn encode(&self, body: &mut Vec<u8>) {
        for number in [self.process, self.processes, self.workers] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(&self.plan);
        push_text(body, &self.version);
        push_text(body, &self.cluster);
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Claims {
            process: fields.number()?,
            processes: fields.number()?,
            workers: fields.number()?,
            plan: fields.array()?,
            version: fields.text()?,
            cluster: fields.text()?,
        })
    }
}

/// The answer to a hello: a number that the proof must cover.
pub fn encode_challenge(nonce: &Nonce) -> Vec<u8> {
    [&MAGIC_CHALLENGE[..], nonce].concat()
}

/// See [`encode_challenge`].
pub fn read_challenge(from: &mut impl Read) -> Result<Nonce, Unread> {
    let (mut magic, mut nonce) = ([0; 8], [0; 32]);
    // An alert of TLS is shorter than what is expected.
    let (first, rest) = magic.split_at_mut(TLS_HEAD_BYTES);
    from.read_exact(first)?;
    if is_tls(first) {
        return Err(Unread::Tls);
    }
    from.read_exact(rest)?;
    if magic != MAGIC_CHALLENGE {
        return Err(Unread::Foreign);
    }
    from.read_exact(&mut nonce)?;
    Ok(nonce)
}

/// A proof is its bytes.
pub fn read_proof(from: &mut impl Read) -> Result<[u8; PROOF_BYTES], Unread> {
    let mut proof = [0; PROOF_BYTES];
    from.read_exact(&mut proof)?;
    Ok(proof)
}

impl Verdict {
    /// The message with its frame, without the proof that follows it.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.claims.encode(&mut body);
        let room = PEER_MESSAGE_BYTES_MAX.saturating_sub(body.len() + 2);
        // What is no printable text would not be taken.
        let reason = self.reason.replace(char::is_control, " ");
        push_text(&mut body, cut(&reason, room));
        frame(&[self.code.byte()], &body)
    }

    /// The refusal of somebody who has proved nothing.
    pub fn write_unproven(to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[Code::Unproven.byte()])?;
        to.flush()
    }

    /// The message and the bytes that it came in; `None` for one that is not followed by a proof.
    pub fn read(from: &mut impl Read) -> Result<Option<(Self, Vec<u8>)>, Unread> {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let code = match byte {
            [1] => Code::Welcome,
            [2] => return Ok(None),
            [3] => Code::Disagreement,
            [4] => Code::Conflict,
            _ => return Err(Unread::Foreign),
        };
        let body = read_body(from)?;
        let mut fields = Fields(&body);
        let mut decode = || {
            let claims = Claims::decode(&mut fields)?;
            let reason = fields.text()?;
            fields.0.is_empty().then_some(Verdict { code, claims, reason })
        };
        let verdict = decode().ok_or(Unread::Foreign)?;
        Ok(Some((verdict, frame(&byte, &body))))
    }
}

impl Code {
    fn byte(self) -> u8 {
        match self {
            Code::Welcome => 1,
            Code::Unproven => 2,
            Code::Disagreement => 3,
            Code::Conflict => 4,
        }
    }
}

fn foreign(magic: &[u8]) -> Unread {
    if is_tls(magic) { Unread::Tls } else { Unread::Foreign }
}

/// Whether bytes begin as a record of TLS: a kind between 20 and 24, and its version.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=24, 3, 0..=4, ..])
}

/// What is not read yet of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Text that others wrote: control characters in it could forge lines of a log.
    fn text(&mut self) -> Option<String> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).ok()?;
        (!text.contains(char::is_control)).then(|| text.to_string())
    }
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    let text = cut(text, usize::from(u16::MAX));
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// The longest beginning of `text` of at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}

fn frame(head: &[u8], body: &[u8]) -> Vec<u8> {
    [head, &(body.len() as u16).to_be_bytes(), body].concat()
}

fn read_body(from: &mut impl Read) -> Result<Vec<u8>, Unread> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > PEER_MESSAGE_BYTES_MAX {
        return Err(Unread::Foreign);
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}
