//! Encodings, checksums, and what stands in for chance.

use std::rc::Rc;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::{Call, Entry};
use crate::helm::fault::Outcome;
use crate::helm::value::Value;

pub(super) const TABLE: &[Entry] = &[
    ("b64enc", 1, 1, |call| call.made(base64(call.text(0)?.as_bytes()))),
    ("b64dec", 1, 1, b64dec),
    ("b32enc", 1, 1, |call| call.made(base32(call.text(0)?.as_bytes()))),
    ("b32dec", 1, 1, b32dec),
    ("sha1sum", 1, 1, |call| call.made(hex::encode(sha1::Sha1::digest(call.text(0)?.as_bytes())))),
    ("sha256sum", 1, 1, |call| call.made(hex::encode(Sha256::digest(call.text(0)?.as_bytes())))),
    ("sha512sum", 1, 1, |call| call.made(hex::encode(Sha512::digest(call.text(0)?.as_bytes())))),
    ("adler32sum", 1, 1, |call| call.made(adler32(call.text(0)?.as_bytes()).to_string())),
    ("bcrypt", 1, 1, |call| call.text(0).map(|_| Value::text(BCRYPT))),
    ("htpasswd", 2, 2, htpasswd),
    ("randAlphaNum", 1, 1, |call| cycled(call, "abcdefghijklmnopqrstuvwxyz0123456789")),
    ("randAlpha", 1, 1, |call| cycled(call, "abcdefghijklmnopqrstuvwxyz")),
    ("randNumeric", 1, 1, |call| cycled(call, "0123456789")),
    ("randAscii", 1, 1, |call| cycled(call, "abcdefghijklmnopqrstuvwxyz0123456789")),
    ("randBytes", 1, 1, rand_bytes),
    ("uuidv4", 0, 0, |_| Ok(Value::text("00000000-0000-4000-8000-000000000000"))),
];

/// A hash of bcrypt's form, and of no password.
const BCRYPT: &str = "$2a$10$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Standard base64.
pub(in crate::helm) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// What cannot be decoded becomes the message of the failure, as in Go.
fn b64dec(call: &Call<'_>) -> Outcome<Value> {
    let text: String = call.text(0)?.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&text) {
        Ok(bytes) => call.made(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => {
            let good =
                text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte)).count();
            // What ends too early is wrong where its last group begins.
            let at = if good == text.len() { good / 4 * 4 } else { good };
            call.made(format!("illegal base64 data at input byte {at}"))
        }
    }
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        let used = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let letter = BASE32[(bits >> (35 - 5 * at)) as usize & 31];
            out.push(if at < used { letter.into() } else { '=' });
        }
    }
    out
}

fn b32dec(call: &Call<'_>) -> Outcome<Value> {
    let text = call.text(0)?;
    let mut out = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for (at, byte) in text.trim_end_matches('=').bytes().enumerate() {
        let Some(value) = BASE32.iter().position(|&letter| letter == byte) else {
            return call.made(format!("illegal base32 data at input byte {at}"));
        };
        bits = (bits << 5 | u32::try_from(value).unwrap_or(0)) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xff).unwrap_or(0));
        }
    }
    call.made(String::from_utf8_lossy(&out).into_owned())
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1, 0);
    for &byte in bytes {
        a = (a + u32::from(byte)) % MODULUS;
        b = (b + a) % MODULUS;
    }
    b << 16 | a
}

fn htpasswd(call: &Call<'_>) -> Outcome<Value> {
    let (user, _password) = (call.text(0)?, call.text(1)?);
    if user.contains(':') {
        return call.made(format!("invalid username: {user}"));
    }
    call.made(format!("{user}:{BCRYPT}"))
}

/// As many characters as asked for, the same ones every time.
fn cycled(call: &Call<'_>, alphabet: &str) -> Outcome<Value> {
    let count = call.count(0)?;
    call.run.work.bytes(count)?;
    let text: String = alphabet.chars().cycle().take(count).collect();
    Ok(Value::Text(Rc::from(text)))
}

fn rand_bytes(call: &Call<'_>) -> Outcome<Value> {
    let count = call.count(0)?;
    call.run.work.bytes(count)?;
    call.made(base64(&vec![0; count]))
}
