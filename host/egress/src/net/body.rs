//! An answer's body in memory: counted before it is kept, and wiped when it is dropped.

use zeroize::Zeroizing;

use super::SendError;

/// The first room for a body whose size nobody told.
const FIRST_BYTES: usize = 4096;

/// Collects pieces of a body.
pub(super) struct Collector {
    bytes: Zeroizing<Vec<u8>>,
    cap: usize,
}

impl Collector {
    /// For a body of at most `cap` bytes, of which `told` are announced.
    ///
    /// # Errors
    /// [`SendError::BodyTooLarge`], if more is announced than is allowed.
    pub(super) fn new(told: u64, cap: usize) -> Result<Self, SendError> {
        match usize::try_from(told) {
            Ok(told) if told <= cap => Ok(Self { bytes: Zeroizing::new(Vec::with_capacity(told)), cap }),
            _ => Err(SendError::BodyTooLarge(cap)),
        }
    }

    /// Takes in a piece.
    ///
    /// # Errors
    /// [`SendError::BodyTooLarge`], before anything of the piece is kept.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), SendError> {
        let needed = self.bytes.len().saturating_add(piece.len());
        if needed > self.cap {
            return Err(SendError::BodyTooLarge(self.cap));
        }
        if needed > self.bytes.capacity() {
            // A vector that grows by itself leaves its bytes behind; this one is wiped when replaced.
            let room = needed.max(self.bytes.capacity().saturating_mul(2)).max(FIRST_BYTES).min(self.cap.max(needed));
            let mut larger = Zeroizing::new(Vec::with_capacity(room));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }
}
