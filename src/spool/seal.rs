//! Sealing: authenticated encryption (RFC 5116) of every payload before it touches the disk, by AES-256-GCM where the CPU has
//! AES and by ChaCha20-Poly1305 (RFC 8439) where it has not. Why so, and why nonces are random: docs/decisions/0006.
//!
//! ```text
//!  box.key ──HKDF (RFC 5869)──┬─► spool id                       one box's key, one spool
//!                             ├─► wrapping key ──► recordings' keys as they stand in the key files
//!                             ├─► description key, one per recording number
//!                             └─► blinded recording id            the ledger's index by id
//!  random ─────────────────────► a recording's key ──► its blocks
//! ```
//!
//! A sealed payload is `nonce 12 │ sealed bytes │ tag 16`; what comes before it in the record is authenticated with it.
//! All that hangs on the box's key is rare and small, so it is sealed by ChaCha20-Poly1305 on every CPU; a recording's key
//! says its algorithm, so that a segment can be read on another machine.

use std::io;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};

use super::segment::SpoolId;
use crate::model::{RecordingId, RecordingNo, TenantId};

/// Length of every key.
pub const KEY_BYTES: usize = 32;

/// Bytes that a sealed payload has more than what is sealed in it.
pub const SEAL_BYTES: usize = NONCE_LEN + TAG_BYTES;

const TAG_BYTES: usize = 16;

/// A number that is used once with a key: 96 random bits.
pub type Nonce = [u8; NONCE_LEN];

/// Fills bytes with what nobody can foresee, or says why it cannot.
pub type Entropy = Box<dyn FnMut(&mut [u8]) -> io::Result<()> + Send>;

/// How blocks are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Four times as fast as the other where the CPU has AES, and slow or leaking its key to the cache where it has not.
    Aes256Gcm,
    /// The same speed, more or less, on every CPU.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// The better one for the CPU that this runs on. The only place that asks it.
    pub fn of_this_cpu() -> Algorithm {
        #[cfg(target_arch = "x86_64")]
        let has_aes = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Algorithm::Aes256Gcm } else { Algorithm::ChaCha20Poly1305 }
    }

    /// As it stands beside a key on the disk.
    pub fn code(self) -> u8 {
        match self {
            Algorithm::Aes256Gcm => 1,
            Algorithm::ChaCha20Poly1305 => 2,
        }
    }

    /// Reads [`Algorithm::code`].
    pub fn from_code(code: u8) -> Option<Algorithm> {
        [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305].into_iter().find(|algorithm| algorithm.code() == code)
    }
}

/// A key that seals and opens.
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// Prepares a key for work.
    pub fn new(algorithm: Algorithm, secret: &[u8; KEY_BYTES]) -> SealingKey {
        let algorithm = match algorithm {
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, secret).expect("both algorithms take keys of 32 bytes, and KEY_BYTES is 32");
        SealingKey(LessSafeKey::new(key))
    }

    /// Makes a payload of what `plain` appends to `out`, sealed where it stands, authenticated with `out[header..]` before it.
    ///
    /// # Errors
    /// When it is over the 64 GiB that the algorithms take.
    pub fn seal(&self, out: &mut Vec<u8>, header: usize, nonce: Nonce, plain: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        out.extend_from_slice(&nonce);
        let start = out.len();
        plain(out);
        let (before, bytes) = out.split_at_mut(start);
        let aad = Aad::from(&before[header..start - NONCE_LEN]);
        let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, aad, bytes);
        out.extend_from_slice(tag.map_err(|_| io::Error::other("too long to be sealed"))?.as_ref());
        Ok(())
    }

    /// What was sealed in `payload`; none when the key is another, or one bit of header or payload.
    pub fn open(&self, header: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = payload.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let nonce = ring::aead::Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(header), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

/// The box's key, from which all others of the spool come that are not random. Clones share it.
#[derive(Clone)]
pub struct BoxKey(Arc<Prk>);

impl BoxKey {
    /// Takes the 32 random bytes of `box.key`. They need no extraction (RFC 5869 §3.3).
    pub fn new(secret: &[u8; KEY_BYTES]) -> BoxKey {
        BoxKey(Arc::new(Prk::new_less_safe(HKDF_SHA256, secret)))
    }

    /// The spool of this key: another key is another spool.
    pub fn spool(&self) -> SpoolId {
        SpoolId(u128::from_be_bytes(self.half(b"spool", b"")))
    }

    /// The key that recordings' keys are sealed with.
    pub fn wrapping_key(&self) -> SealingKey {
        SealingKey::new(Algorithm::ChaCha20Poly1305, &self.derived(b"wrap", b""))
    }

    /// The key of a recording's descriptions. It outlives the blocks' key, because what is delivered must stay known.
    pub fn description_key(&self, no: RecordingNo) -> SealingKey {
        SealingKey::new(Algorithm::ChaCha20Poly1305, &self.derived(b"description", &no.0.to_be_bytes()))
    }

    /// What stands for a recording id where it can be searched for, but not read.
    pub fn blinded(&self, id: &RecordingId) -> [u8; 16] {
        self.half(b"id", id.0.as_bytes())
    }

    /// What stands for a tenant where recordings of the same one must be told apart, but not whose they are.
    pub fn blinded_tenant(&self, id: &TenantId) -> [u8; 16] {
        self.half(b"tenant", id.0.as_bytes())
    }

    /// No `purpose` begins like another, so no two of them ever make the same of anything.
    fn derived(&self, purpose: &[u8], about: &[u8]) -> [u8; KEY_BYTES] {
        let (info, mut out) = ([purpose, about], [0; KEY_BYTES]);
        let expanded = self.0.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        expanded.expect("32 bytes are one block of SHA-256, and HKDF gives up to 255");
        out
    }

    fn half(&self, purpose: &[u8], about: &[u8]) -> [u8; 16] {
        let whole = self.derived(purpose, about);
        std::array::from_fn(|i| whole[i])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const BOTH: [Algorithm; 2] = [Algorithm::Aes256Gcm, Algorithm::ChaCha20Poly1305];

    /// Header and payload, sealed behind each other.
    fn sealed(key: &SealingKey, header: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = [b"before", header].concat();
        key.seal(&mut out, 6, [9; 12], |out| out.extend_from_slice(plain)).unwrap();
        out.split_off(6)
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(secret: [u8; 32], header: Vec<u8>, plain: Vec<u8>) {
            for algorithm in BOTH {
                let key = SealingKey::new(algorithm, &secret);
                let out = sealed(&key, &header, &plain);
                prop_assert_eq!(out.len(), header.len() + plain.len() + SEAL_BYTES);
                let (head, payload) = out.split_at(header.len());
                prop_assert_eq!(head, &header);
                prop_assert_eq!(key.open(head, payload), Some(plain.clone()));
            }
        }

        #[test]
        fn any_payload_is_refused_without_a_panic(header: Vec<u8>, payload: Vec<u8>) {
            for algorithm in BOTH {
                prop_assert_eq!(SealingKey::new(algorithm, &[1; 32]).open(&header, &payload), None);
            }
        }
    }

    #[test]
    fn another_key_or_any_flipped_bit_opens_nothing() {
        for algorithm in BOTH {
            let key = SealingKey::new(algorithm, &[1; 32]);
            let out = sealed(&key, b"header", b"0123456789");
            assert!(!out.windows(3).any(|w| w == b"345"));
            assert_eq!(SealingKey::new(algorithm, &[2; 32]).open(b"header", &out[6..]), None);
            for bit in 0..out.len() * 8 {
                let mut flipped = out.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(&flipped[..6], &flipped[6..]), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn aes_gcm_and_chacha_are_the_standards() {
        // The specification of GCM (McGrew, Viega 2004), test case 14; RFC 8439 has no case with zeros alone, so its §2.8.2.
        let mut out = Vec::new();
        let key = SealingKey::new(Algorithm::Aes256Gcm, &[0; 32]);
        key.seal(&mut out, 0, [0; 12], |out| out.extend_from_slice(&[0; 16])).unwrap();
        assert_eq!(out[12..16], [0xCE, 0xA7, 0x40, 0x3D]);
        assert_eq!(out[28..32], [0xD0, 0xD1, 0xC8, 0xA7]);

        let secret = std::array::from_fn(|i| 0x80 + u8::try_from(i).unwrap());
        let header = [0x50, 0x51, 0x52, 0x53, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC6, 0xC7];
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let text =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let mut out = header.to_vec();
        let key = SealingKey::new(Algorithm::ChaCha20Poly1305, &secret);
        key.seal(&mut out, 0, nonce, |out| out.extend_from_slice(text)).unwrap();
        assert_eq!(out[24..28], [0xD3, 0x1A, 0x8D, 0x34]);
        assert_eq!(out[out.len() - 16..][..4], [0x1A, 0xE1, 0x0B, 0x59]);
    }

    #[test]
    fn everything_that_comes_from_the_box_key_differs() {
        let (one, other) = (BoxKey::new(&[1; 32]), BoxKey::new(&[2; 32]));
        assert_eq!(one.spool(), BoxKey::new(&[1; 32]).spool());
        assert_ne!(one.spool(), other.spool());
        let id = |id: &str| RecordingId(id.into());
        assert_ne!(one.blinded(&id("a")), one.blinded(&id("b")));
        assert_ne!(one.blinded(&id("a")), other.blinded(&id("a")));
        let payload = sealed(&one.description_key(RecordingNo(1)), b"", b"text");
        assert_eq!(one.description_key(RecordingNo(1)).open(b"", &payload).as_deref(), Some(b"text".as_slice()));
        for key in [one.description_key(RecordingNo(2)), other.description_key(RecordingNo(1)), one.wrapping_key()] {
            assert_eq!(key.open(b"", &payload), None);
        }
    }

    #[test]
    fn an_algorithm_is_known_by_its_code() {
        BOTH.iter().for_each(|algorithm| assert_eq!(Algorithm::from_code(algorithm.code()), Some(*algorithm)));
        assert_eq!((Algorithm::from_code(0), Algorithm::from_code(3)), (None, None));
    }
}
