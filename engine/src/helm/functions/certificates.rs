//! Keys and certificates: the right shape, and no key at all.

use super::encoding::base64;
use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("genPrivateKey", 1, 1, |call| call.text(0).and_then(|kind| call.made(key(kind)))),
    ("genCA", 2, 2, certificate),
    ("genCAWithKey", 3, 3, certificate),
    ("genSelfSignedCert", 4, 4, certificate),
    ("genSelfSignedCertWithKey", 5, 5, certificate),
    ("genSignedCert", 5, 5, certificate),
    ("genSignedCertWithKey", 6, 6, certificate),
    ("buildCustomCert", 2, 2, custom),
];

fn pem(kind: &str, content: &str) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", base64(content.as_bytes()))
}

fn key(kind: &str) -> String {
    let kind = match kind {
        "ecdsa" => "EC PRIVATE KEY",
        "dsa" => "DSA PRIVATE KEY",
        "ed25519" => "PRIVATE KEY",
        _ => "RSA PRIVATE KEY",
    };
    pem(kind, "no key: made while looking for container images")
}

fn pair(certificate: &str, key: &str) -> Value {
    Value::map([("Cert".into(), Value::text(certificate)), ("Key".into(), Value::text(key))])
}

fn certificate(call: &Call<'_>) -> Outcome<Value> {
    let name = call.text(0)?;
    call.run.work.bytes(2 * name.len() + 256)?;
    Ok(pair(&pem("CERTIFICATE", &format!("no certificate of {name}")), &key("rsa")))
}

/// Certificate and key as the values have them.
fn custom(call: &Call<'_>) -> Outcome<Value> {
    let decode = |at: usize| -> Outcome<String> {
        use ::base64::Engine as _;
        let text = call.text(at)?;
        let bytes = ::base64::engine::general_purpose::STANDARD.decode(&**text);
        let bytes = bytes.map_err(|error| call.wrong(error))?;
        call.run.work.bytes(bytes.len())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(pair(&decode(0)?, &decode(1)?))
}
