//! Messages on a connection: a kind, a length, a body.

use std::io::{Error, ErrorKind, Read, Result, Write};

use crate::limits::CLUSTER_FRAME_BYTES_MAX;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sender lives.
    Life = 1,
    /// What the sender is: an [`super::About`] as JSON.
    About = 2,
    /// The epoch of the session that is to begin; answered by itself.
    Epoch = 3,
    /// Connect your workers; answered by itself when that is done.
    Meet = 4,
    /// For those above.
    Message = 5,
    /// The sender ends the session; why.
    Bye = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Kind::Life, Kind::About, Kind::Epoch, Kind::Meet, Kind::Message, Kind::Bye];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Writes a message, at once.
pub fn write(out: &mut impl Write, kind: Kind, body: &[u8]) -> Result<()> {
    if body.len() > CLUSTER_FRAME_BYTES_MAX {
        let what = format!("a message of {} bytes is too long to send", body.len());
        return Err(Error::new(ErrorKind::InvalidInput, what));
    }
    let mut message = Vec::with_capacity(5 + body.len());
    message.push(kind as u8);
    message.extend((body.len() as u32).to_be_bytes());
    message.extend(body);
    out.write_all(&message)?;
    out.flush()
}

/// Reads the next message.
pub fn read(input: &mut impl Read) -> Result<(Kind, Vec<u8>)> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidData, what);
    let mut head = [0; 5];
    input.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    let kind = Kind::of(kind).ok_or_else(|| invalid(format!("a message of kind {kind}")))?;
    if length > CLUSTER_FRAME_BYTES_MAX {
        return Err(invalid(format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok((kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Life, b"").unwrap();
        write(&mut bytes, Kind::Message, b"hello").unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(read(&mut input).unwrap(), (Kind::Life, Vec::new()));
        assert_eq!(read(&mut input).unwrap(), (Kind::Message, b"hello".to_vec()));
        assert_eq!(read(&mut input).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |bytes: &[u8]| read(&mut &*bytes).unwrap_err().kind();
        assert_eq!(refused(&[9, 0, 0, 0, 0]), ErrorKind::InvalidData);
        assert_eq!(refused(&[5, 255, 255, 255, 255]), ErrorKind::InvalidData);
    }
}
