//! A batch of datagrams: how a datagram encoder hands its packets to the
//! UDP worker.
//!
//! A finished batch is a sequence of `[u32 LE length][u32 LE spans][payload]`,
//! where `length` is that of the payload alone. The number of spans lets each
//! datagram be accounted for on its own.

/// Bytes before each payload.
pub const HEADER: usize = 8;

/// One packet of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Spans in it.
    pub spans: u32,
    /// What is sent.
    pub payload: &'a [u8],
}

/// Appends a datagram that holds this many spans to a batch.
pub fn push(batch: &mut Vec<u8>, spans: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(&spans.to_le_bytes());
    batch.extend_from_slice(payload);
}

/// The datagrams of a batch; ends early if the batch is malformed.
pub fn iter(batch: &[u8]) -> impl Iterator<Item = Datagram<'_>> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (spans, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (payload, after) = after.split_at_checked(length)?;
        rest = after;
        Some(Datagram {
            spans: u32::from_le_bytes(*spans),
            payload,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn what_was_pushed_comes_out(packets: Vec<(u32, Vec<u8>)>) {
            let mut batch = Vec::new();
            for (spans, payload) in &packets {
                push(&mut batch, *spans, payload);
            }
            let out: Vec<_> = iter(&batch).map(|d| (d.spans, d.payload.to_vec())).collect();
            prop_assert_eq!(out, packets);
        }

        #[test]
        fn any_bytes_end(batch: Vec<u8>) {
            let total: usize = iter(&batch).map(|d| d.payload.len() + HEADER).sum();
            assert!(total <= batch.len());
        }
    }
}
