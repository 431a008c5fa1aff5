//! Single values of state as bytes of a fixed form: for what has no columns of its own, like the
//! entries of a group's set.
//!
//! Integers are variable-length (LEB128, the sign in the last bit), texts and lists begin with
//! their length. The form is stored in snapshots: it must not change without a new version of them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A value that has a stored form.
pub trait Encode: Sized {
    /// Appends the stored form.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes back what `encode` appended.
    fn decode(from: &mut Encoded<'_>) -> Result<Self>;
}

/// Stored forms, one after the other.
#[derive(Debug)]
pub struct Encoded<'a>(&'a [u8]);

impl<'a> Encoded<'a> {
    /// The values stored in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Encoded(bytes)
    }

    /// Whether all values were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next length, of values of at least a byte each.
    pub fn length(&mut self) -> Result<usize> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| cut_off())?;
        if length > self.0.len() { Err(cut_off()) } else { Ok(length) }
    }

    fn unsigned(&mut self) -> Result<u128> {
        let (mut value, mut shift) = (0u128, 0u32);
        loop {
            let [byte] = *self.bytes(1)? else { return Err(cut_off()) };
            value |= u128::from(byte & 0x7f).checked_shl(shift).ok_or_else(cut_off)?;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }
}

fn cut_off() -> Error {
    Error::internal("a stored value of state is cut off")
}

/// Appends a length.
pub fn encode_length(length: usize, out: &mut Vec<u8>) {
    put_unsigned(length as u128, out);
}

fn put_unsigned(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Encode for i128 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_unsigned(((self << 1) ^ (self >> 127)) as u128, out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let value = from.unsigned()?;
        Ok((value >> 1) as i128 ^ -((value & 1) as i128))
    }
}

impl Encode for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        i128::from(*self).encode(out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        i64::try_from(i128::decode(from)?).map_err(|_| cut_off())
    }
}

impl Encode for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_unsigned(u128::from(*self), out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        u32::try_from(from.unsigned()?).map_err(|_| cut_off())
    }
}

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        Ok(from.bytes(1)? != [0])
    }
}

impl Encode for Box<[u8]> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        out.extend_from_slice(self);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let length = from.length()?;
        Ok(from.bytes(length)?.into())
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        out.extend_from_slice(self);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let length = from.length()?;
        Ok(from.bytes(length)?.to_vec())
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        if bool::decode(from)? { Ok(Some(T::decode(from)?)) } else { Ok(None) }
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        Ok((A::decode(from)?, B::decode(from)?))
    }
}

impl<K: Encode + Ord, V: Encode> Encode for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_length(self.len(), out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(from: &mut Encoded<'_>) -> Result<Self> {
        let length = from.length()?;
        (0..length).map(|_| <(K, V)>::decode(from)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: Encode + PartialEq + std::fmt::Debug>(value: &T) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let mut from = Encoded::new(&bytes);
        assert_eq!(&T::decode(&mut from).unwrap(), value);
        assert!(from.is_empty());
        for cut in 0..bytes.len() {
            assert!(T::decode(&mut Encoded::new(&bytes[..cut])).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(
            wide in any::<i128>(), int in any::<i64>(), small in -200i64..200,
            number in any::<u32>(),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            map in prop::collection::btree_map(any::<i64>(), any::<bool>(), 0..5),
        ) {
            check(&wide);
            check(&(int, Some(small)));
            check(&(number, None::<i64>));
            check(&bytes);
            check(&bytes.into_boxed_slice());
            check(&map);
        }
    }

    #[test]
    fn the_ends_of_the_ranges_come_back() {
        [i64::MIN, -1, 0, 63, 64, i64::MAX].iter().for_each(check);
        [i128::MIN, i128::MAX].iter().for_each(check);
        assert!(i64::decode(&mut Encoded::new(&[0xff; 40])).is_err());
    }
}
