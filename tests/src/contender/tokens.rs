//! Tokens as each dialect makes them, so that the catalogue knows them again.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use uuid::Uuid;

pub(super) fn uuid() -> Vec<u8> {
    Uuid::new_v4().to_string().into_bytes()
}

pub(super) fn uuid1() -> Vec<u8> {
    Uuid::now_v1(&[3, 1, 4, 1, 5, 9]).simple().to_string().into_bytes()
}

pub(super) fn hex(digits: usize) -> String {
    let mut text = String::new();
    while text.len() < digits {
        text.push_str(&Uuid::new_v4().simple().to_string());
    }
    text.truncate(digits);
    text
}

/// Not of a UUID's form, whose version is the thirteenth digit.
pub(super) fn hex_of_16() -> Vec<u8> {
    let mut digits = hex(32);
    digits.replace_range(12..13, "f");
    digits.into_bytes()
}

pub(super) fn base64_of_18() -> Vec<u8> {
    STANDARD.encode(rand::random::<[u8; 18]>()).into_bytes()
}

pub(super) fn base64_of_32() -> Vec<u8> {
    STANDARD.encode(rand::random::<[u8; 32]>()).into_bytes()
}

/// Ends as no base64 of 16 bytes does.
pub(super) fn letters_of_22() -> Vec<u8> {
    format!("Z{}b", hex(20)).into_bytes()
}

pub(super) fn base64url_and_metadata() -> Vec<u8> {
    format!("{}worker-7", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())).into_bytes()
}

/// Random bytes that are no text.
pub(super) fn raw(bytes: usize) -> Vec<u8> {
    let mut raw = vec![0xff; bytes];
    raw[1..17.min(bytes)].copy_from_slice(&rand::random::<[u8; 16]>()[..17.min(bytes) - 1]);
    raw
}

pub(super) fn base64_of_16() -> Vec<u8> {
    STANDARD.encode(rand::random::<[u8; 16]>()).into_bytes()
}

pub(super) fn host_and_process() -> Vec<u8> {
    format!("worker-7_{}_{}", rand::random_range(1..30_000), hex(32)).into_bytes()
}

pub(super) fn thread() -> Vec<u8> {
    format!("{}:{}", Uuid::new_v4(), rand::random_range(20..90)).into_bytes()
}

pub(super) fn shedlock_value() -> Vec<u8> {
    format!("ADDED:2026-01-01T00:00:00.123Z@worker-7:{}", Uuid::new_v4()).into_bytes()
}

pub(super) fn job() -> Vec<u8> {
    hex(24).into_bytes()
}

/// Seconds since 1970 with six digits behind the point, which tell one from the next.
pub(super) fn seconds(ahead: u64) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!("{}.{:06}", now + ahead, rand::random_range(0..1_000_000)).into_bytes()
}

pub(super) fn deadline() -> Vec<u8> {
    seconds(600)
}

pub(super) fn moment() -> Vec<u8> {
    seconds(0)
}
