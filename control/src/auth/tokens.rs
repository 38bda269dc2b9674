//! The tokens of service accounts: JSON web tokens that this server signs and knows again.
//!
//! Here are the key, the claims and their times; whether the account and what the token is bound to
//! still exist is judged in `api::tokens`. The key is made at the first start and kept in `pki/` of
//! the data folder, or only in memory. Tokens are signed with ES256.
//!
//! Source: `pkg/serviceaccount/{jwt,claims,openidmetadata}.go`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::KeyPair;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::pki::{PkiError, create_private_folder, read, write_private};

/// Who signs: also the audience of the API itself.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Where the keys are published.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// Clocks differ.
pub const LEEWAY_SECONDS: i64 = 60;

/// What goes before a P-256 point to make it a SubjectPublicKeyInfo.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A named object, as a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What only Kubernetes claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    /// From when on the token is used longer than was asked for, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// What a token says. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    pub nbf: i64,
    pub sub: String,
}

impl Claims {
    /// Why the token does not hold at this time.
    pub fn check_times(&self, now: Timestamp) -> Result<(), &'static str> {
        let now = now.as_second();
        if now + LEEWAY_SECONDS < self.nbf {
            Err("service account token is not valid yet")
        } else if now - LEEWAY_SECONDS > self.exp {
            Err("service account token has expired")
        } else if now + LEEWAY_SECONDS < self.iat {
            Err("service account token is issued in the future")
        } else {
            Ok(())
        }
    }
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Why a token is not one of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// It does not even claim to be.
    Unknown,
    /// It claims to be, falsely.
    Forged(&'static str),
}

/// The key of the server, with what is published of it.
pub struct Tokens {
    key: EcdsaKeyPair,
    key_id: String,
    configuration: String,
    keys: String,
}

impl Tokens {
    /// A new key that is kept nowhere. `server`: the URL that the keys are found at.
    pub fn in_memory(server: &str) -> Result<Self, PkiError> {
        Self::assemble(&KeyPair::generate()?, server).ok_or_else(|| PkiError::Make(unusable()))
    }

    /// The key of this data folder, made now if there is none.
    pub fn in_folder(data_dir: &Path, server: &str) -> Result<Self, PkiError> {
        let folder = data_dir.join("pki");
        let path = folder.join("sa.key");
        let unreadable = || PkiError::Key { path: path.clone() };
        if path.exists() {
            let pair = KeyPair::from_pem(&read(&path)?).map_err(|_| unreadable())?;
            return Self::assemble(&pair, server).ok_or_else(unreadable);
        }
        let pair = KeyPair::generate()?;
        create_private_folder(&folder)?;
        write_private(&path, &pair.serialize_pem())?;
        Self::assemble(&pair, server).ok_or_else(unreadable)
    }

    fn assemble(pair: &KeyPair, server: &str) -> Option<Self> {
        let random = SystemRandom::new();
        let der = pair.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).ok()?;
        let point = key.public_key().as_ref().to_vec();
        let info = [&P256_PREFIX[..], &point].concat();
        let key_id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &info));
        let configuration = Configuration {
            issuer: ISSUER,
            jwks_uri: &format!("{server}{KEYS_PATH}"),
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: ["ES256"],
        };
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        let public = Key {
            purpose: "sig",
            kty: "EC",
            kid: &key_id,
            crv: "P-256",
            alg: "ES256",
            x: &URL_SAFE_NO_PAD.encode(x),
            y: &URL_SAFE_NO_PAD.encode(y),
        };
        let configuration = serde_json::to_string(&configuration).ok()?;
        let keys = serde_json::to_string(&KeySet { keys: [public] }).ok()?;
        Some(Self { key, key_id, configuration, keys })
    }

    /// `/.well-known/openid-configuration`.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// `/openid/v1/jwks`.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// A token with these claims; `None` where the system gives no randomness.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        let header = format!("{{\"alg\":\"ES256\",\"kid\":{:?}}}", self.key_id);
        let claims = serde_json::to_vec(claims).ok()?;
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this server has signed, whatever their times.
    pub fn verify(&self, token: &str) -> Result<Claims, Foreign> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err(Foreign::Unknown) };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Foreign::Unknown);
        let (head, body, seal) = (decode(header)?, decode(claims)?, decode(signature)?);
        let head: Header = serde_json::from_slice(&head).map_err(|_| Foreign::Unknown)?;
        let claimed: serde_json::Value =
            serde_json::from_slice(&body).map_err(|_| Foreign::Unknown)?;
        if claimed["iss"] != ISSUER {
            return Err(Foreign::Unknown);
        }
        if !head.kid.is_empty() && head.kid != self.key_id {
            return Err(Foreign::Forged("invalid signature, no keys found"));
        }
        const BROKEN: Foreign =
            Foreign::Forged("go-jose/go-jose: error in cryptographic primitive");
        let public =
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        let signed = format!("{header}.{claims}");
        if head.alg != "ES256" || public.verify(signed.as_bytes(), &seal).is_err() {
            return Err(BROKEN);
        }
        serde_json::from_value(claimed).map_err(|_| BROKEN)
    }
}

fn unusable() -> rcgen::Error {
    rcgen::Error::UnsupportedSignatureAlgorithm
}

#[derive(Serialize)]
struct Configuration<'a> {
    issuer: &'a str,
    jwks_uri: &'a str,
    response_types_supported: [&'a str; 1],
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: [&'a str; 1],
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: [Key<'a>; 1],
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(rename = "use")]
    purpose: &'a str,
    kty: &'a str,
    kid: &'a str,
    crv: &'a str,
    alg: &'a str,
    x: &'a str,
    y: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            aud: vec![ISSUER.to_owned()],
            exp: 5000,
            iat: 1000,
            iss: ISSUER.to_owned(),
            jti: "id".to_owned(),
            kubernetes: Kubernetes { namespace: "default".to_owned(), ..Kubernetes::default() },
            nbf: 1000,
            sub: "system:serviceaccount:default:a".to_owned(),
        }
    }

    #[test]
    fn a_token_is_known_again_and_a_forged_one_is_not() {
        let tokens = Tokens::in_memory("https://a").expect("made");
        let token = tokens.sign(&claims()).expect("signed");
        assert_eq!(tokens.verify(&token), Ok(claims()));
        assert_eq!(tokens.verify("abc"), Err(Foreign::Unknown));
        assert_eq!(tokens.verify("a.b.c"), Err(Foreign::Unknown));
        let others = Tokens::in_memory("https://a").expect("made");
        let why = Err(Foreign::Forged("invalid signature, no keys found"));
        assert_eq!(others.verify(&token), why);
        let (signed, seal) = token.rsplit_once('.').expect("three parts");
        let (header, _) = signed.split_once('.').expect("two parts");
        let mut other = claims();
        other.sub = "system:serviceaccount:kube-system:admin".to_owned();
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&other).expect("JSON"));
        let forged = tokens.verify(&format!("{header}.{body}.{seal}"));
        assert!(matches!(forged, Err(Foreign::Forged(_))), "{forged:?}");
        let none = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}");
        let unsigned = tokens.verify(&format!("{none}.{body}."));
        assert!(matches!(unsigned, Err(Foreign::Forged(_))), "{unsigned:?}");
    }

    #[test]
    fn tokens_hold_for_their_time_and_a_minute_around_it() {
        let at = |second: i64| {
            claims().check_times(Timestamp::from_second(second).expect("a time")).err()
        };
        assert_eq!(at(939), Some("service account token is not valid yet"));
        assert_eq!(at(940), None);
        assert_eq!(at(5060), None);
        assert_eq!(at(5061), Some("service account token has expired"));
    }

    #[test]
    fn a_second_start_finds_the_same_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Tokens::in_folder(folder.path(), "https://a").expect("made");
        let second = Tokens::in_folder(folder.path(), "https://b").expect("read");
        let token = first.sign(&claims()).expect("signed");
        assert_eq!(second.verify(&token), Ok(claims()));
        assert_eq!(first.keys(), second.keys());
        assert!(second.configuration().contains("\"jwks_uri\":\"https://b/openid/v1/jwks\""));
    }
}
