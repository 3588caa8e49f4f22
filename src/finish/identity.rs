//! Who the box is: its Ed25519 key (RFC 8032) and the signature over `recording.json`. Pure.
//!
//! Signed is the document without `nearend.signature`, in the canonical form of RFC 8785: no white space, names sorted, so that whoever
//! reads and writes the file again does not break the signature. The key and the files are [`driver`](super::driver)'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Length of the secret, and of the public key.
pub const KEY_BYTES: usize = 32;

/// A SubjectPublicKeyInfo of Ed25519 (RFC 8410 §4) is this, then the key.
const SPKI: [u8; 12] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];

const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// The box's key pair.
pub struct Identity(Ed25519KeyPair);

impl Identity {
    /// From the 32 random bytes of `identity.key`.
    pub fn new(secret: &[u8; KEY_BYTES]) -> Identity {
        let pair = Ed25519KeyPair::from_seed_unchecked(secret);
        Identity(pair.expect("a seed of Ed25519 is any 32 bytes, and KEY_BYTES is 32"))
    }

    /// What others need to know.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(std::array::from_fn(|i| self.0.public_key().as_ref()[i])) // a public key of Ed25519 has 32 bytes
    }

    /// Signs a document.
    pub fn sign(&self, document: &Value) -> Signature {
        Signature {
            algorithm: Algorithm::Ed25519,
            key: BASE64.encode(self.public_key().0),
            value: BASE64.encode(self.0.sign(&canonical(document))),
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", BASE64.encode(self.public_key().0))
    }
}

/// A box's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// As a PEM file, which `openssl` reads.
    pub fn to_pem(&self) -> String {
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", BASE64.encode([&SPKI[..], &self.0].concat()))
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// What it is instead.
    pub fn from_pem(text: &str) -> Result<PublicKey, String> {
        const EXPECTED: &str = "is no public key of a box; expected the file identity.pub, which stands beside the box's box.key";
        let body = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END)).ok_or(EXPECTED)?;
        let der = BASE64.decode(body.trim()).map_err(|_| EXPECTED)?;
        let key = der.strip_prefix(&SPKI).and_then(|key| key.try_into().ok()).ok_or(EXPECTED)?;
        Ok(PublicKey(key))
    }

    /// Whether this box signed this document.
    pub fn check(&self, document: &Value) -> SignatureVerdict {
        let Some(signature) = document.pointer("/nearend/signature") else { return SignatureVerdict::Unsigned };
        let Ok(signature) = Signature::deserialize(signature) else { return SignatureVerdict::Wrong };
        let Ok(value) = BASE64.decode(&signature.value) else { return SignatureVerdict::Wrong };
        if UnparsedPublicKey::new(&ED25519, &self.0).verify(&canonical(document), &value).is_ok() {
            SignatureVerdict::Right
        } else if signature.key != BASE64.encode(self.0) {
            SignatureVerdict::OtherBox
        } else {
            SignatureVerdict::Wrong
        }
    }
}

/// As it stands in `recording.json` under `nearend.signature`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    algorithm: Algorithm,
    /// The public key, base64: a hint which box it was. Who checks must know the key from elsewhere.
    key: String,
    /// Base64.
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Algorithm {
    Ed25519,
}

/// What is to be said about a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureVerdict {
    /// The box signed exactly this.
    Right,
    /// Something was changed since, or it was never signed by this key.
    Wrong,
    /// It names the key of another box.
    OtherBox,
    /// There is none.
    Unsigned,
    /// No key was given to check it by.
    Unchecked,
}

/// What is signed: RFC 8785 of the document without its signature.
///
/// All numbers of the document are integers below 2⁵³ and its names are sorted by code points, which is RFC 8785's order
/// but for names beyond the Basic Multilingual Plane; those are sorted by UTF-16 there, and here, too.
fn canonical(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_canonical(document, &mut Vec::new(), &mut out);
    out
}

fn write_canonical<'v>(value: &'v Value, path: &mut Vec<&'v str>, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            names.retain(|name| !(path.as_slice() == ["nearend"] && *name == "signature"));
            out.push(b'{');
            for (n, name) in names.into_iter().enumerate() {
                write_separator(n, out);
                write_plain(&Value::String(name.clone()), out);
                out.push(b':');
                path.push(name);
                write_canonical(&members[name], path, out);
                path.pop();
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                write_separator(n, out);
                path.push("[]");
                write_canonical(item, path, out);
                path.pop();
            }
            out.push(b']');
        }
        plain => write_plain(plain, out),
    }
}

fn write_separator(n: usize, out: &mut Vec<u8>) {
    if n > 0 {
        out.push(b',');
    }
}

/// Strings and numbers are written by serde_json as RFC 8785 wants them.
fn write_plain(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signed(identity: &Identity, mut document: Value) -> Value {
        document["nearend"]["signature"] = serde_json::to_value(identity.sign(&document)).unwrap();
        document
    }

    #[test]
    fn the_key_pair_is_the_standards() {
        // RFC 8032 §7.1, test 1: secret key and public key.
        let hex = |text: &str| std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap());
        let identity = Identity::new(&hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
        let public = PublicKey(hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
        assert_eq!(identity.public_key(), public);
    }

    #[test]
    fn the_form_that_is_signed() {
        let document = json!({
            "b": [1, -2, {"z": null, "a": true}], "a": "ä\u{1}\n\"\\/", "nearend": {"signature": 1, "x": {"signature": 2}},
            "\u{10000}": 0, "\u{FFFF}": 0,
        });
        let expected = "{\"a\":\"ä\\u0001\\n\\\"\\\\/\",\"b\":[1,-2,{\"a\":true,\"z\":null}],\
                        \"nearend\":{\"x\":{\"signature\":2}},\"\u{10000}\":0,\"\u{FFFF}\":0}";
        assert_eq!(String::from_utf8(canonical(&document)).unwrap(), expected);
    }

    #[test]
    fn any_change_but_of_white_space_and_order_breaks_it() {
        let identity = Identity::new(&[7; 32]);
        let key = identity.public_key();
        let document = signed(&identity, json!({"id": "a", "nearend": {"files": [{"bytes": 1}]}}));
        assert_eq!(key.check(&document), SignatureVerdict::Right);
        let reformatted: Value = serde_json::from_str(&format!("{document:#}")).unwrap();
        assert_eq!(key.check(&reformatted), SignatureVerdict::Right);
        let changes: [fn(&mut Value); 5] = [
            |d| d["nearend"]["files"][0]["bytes"] = json!(2),
            |d| d["more"] = json!(null),
            |d| d["id"] = json!("b"),
            |d| d["nearend"]["signature"]["value"] = json!("AAAA"),
            |d| d["nearend"]["signature"] = json!("none"),
        ];
        for change in changes {
            let mut changed = document.clone();
            change(&mut changed);
            assert_eq!(key.check(&changed), SignatureVerdict::Wrong, "{changed}");
        }
        assert_eq!(Identity::new(&[8; 32]).public_key().check(&document), SignatureVerdict::OtherBox);
        assert_eq!(key.check(&json!({"nearend": {}})), SignatureVerdict::Unsigned);
    }

    #[test]
    fn the_public_key_is_an_ordinary_pem_file() {
        let key = Identity::new(&[7; 32]).public_key();
        assert_eq!(PublicKey::from_pem(&key.to_pem()), Ok(key.clone()));
        let other = key.to_pem().replace("MCowBQYDK2Vw", "MCowBQYDK2Vu"); // X25519
        for text in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", &other] {
            assert!(PublicKey::from_pem(text).unwrap_err().contains("identity.pub"), "{text}");
        }
    }
}
