//! Content codings of response bodies (RFC 9110, section 8.4). Pure.
//!
//! Every request asks for none. Some servers and proxies compress all the same, nearly always with gzip.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// The failure to undo a content coding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CodingError {
    /// The decoded body is too large.
    TooLarge,
    /// The coding is not gzip, or the body is damaged; the cause.
    Unreadable(String),
}

/// Undoes the content coding of a whole body.
///
/// # Errors
///
/// Fails if the coding is not gzip, if the body is damaged, or if it has more than `max_bytes` bytes
/// when decoded. `body` is then empty.
pub(super) fn decode(
    headers: &HeaderMap,
    body: &mut Vec<u8>,
    max_bytes: usize,
) -> Result<(), CodingError> {
    let names = headers.get_all(CONTENT_ENCODING).iter();
    let names: Vec<_> = names.map(|name| String::from_utf8_lossy(name.as_bytes())).collect();
    let names = names.join(",").to_ascii_lowercase();
    let names = names.split(',').map(str::trim);
    let codings: Vec<_> = names.filter(|name| !matches!(*name, "" | "identity")).collect();
    // A response to HEAD has the headers of the response to GET, and no body.
    if codings.is_empty() || body.is_empty() {
        return Ok(());
    }
    let coded = std::mem::take(body);
    if !matches!(codings[..], ["gzip" | "x-gzip"]) {
        let codings = codings.join(", ");
        let message =
            format!("the response has the content coding `{codings}`; none was requested");
        return Err(CodingError::Unreadable(message));
    }
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoded = Vec::new();
    if MultiGzDecoder::new(&*coded).take(limit).read_to_end(&mut decoded).is_err() {
        return Err(CodingError::Unreadable("the gzip data of the response is damaged".to_owned()));
    }
    if decoded.len() > max_bytes {
        return Err(CodingError::TooLarge);
    }
    *body = decoded;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(
        codings: &[&str],
        mut body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<String, CodingError> {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(CONTENT_ENCODING, coding.parse().unwrap());
        }
        let result = decode(&headers, &mut body, max_bytes);
        assert!(result.is_ok() || body.is_empty());
        result.map(|()| String::from_utf8(body).unwrap())
    }

    #[test]
    fn gzip_is_decoded() {
        let twice = [gzip(b"a"), gzip(b"b")].concat();
        for (codings, body, expected) in [
            (&["gzip"][..], gzip(b"text"), "text"),
            (&["X-GZip"], gzip(b"text"), "text"),
            (&["identity, gzip"], gzip(b"text"), "text"),
            (&["gzip", " , identity"], gzip(b"text"), "text"),
            (&["gzip"], twice, "ab"),
            (&["gzip"], gzip(b""), ""),
            (&["identity"], b"text".to_vec(), "text"),
            (&[""], b"text".to_vec(), "text"),
            (&[], b"text".to_vec(), "text"),
            // Responses to HEAD.
            (&["gzip"], Vec::new(), ""),
            (&["br"], Vec::new(), ""),
        ] {
            assert_eq!(decoded(codings, body, 4), Ok(expected.to_owned()), "{codings:?}");
        }
    }

    #[test]
    fn other_codings_and_damaged_bodies_are_errors() {
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(b"text").unwrap();
        let deflate = deflate.finish().unwrap();
        for (codings, body, expected) in [
            (&["deflate"][..], deflate, "`deflate`"),
            (&["zstd"], b"\x28\xb5\x2f\xfd".to_vec(), "`zstd`"),
            (&["br"], b"x".to_vec(), "`br`"),
            (&["new"], b"x".to_vec(), "`new`"),
            (&["gzip, gzip"], gzip(&gzip(b"text")), "`gzip, gzip`"),
            (&["gzip", "br"], b"x".to_vec(), "`gzip, br`"),
            (&["gzip"], b"text".to_vec(), "damaged"),
            (&["gzip"], gzip(b"text")[..15].to_vec(), "damaged"),
        ] {
            let Err(CodingError::Unreadable(message)) = decoded(codings, body, 99) else {
                panic!("{codings:?}")
            };
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn decoded_bodies_have_a_maximum_size() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        assert_eq!(decoded(&["gzip"], bomb, 2000), Err(CodingError::TooLarge));
    }
}
