//! Checks signatures of AWS, written from its description and independent of the code that signs.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::http::Request;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5C)).chain_update(inner).finalize().to_vec()
}

/// The error code S3 would answer with, if any.
pub fn check(request: &Request, key_id: &str, secret: &str, region: &str) -> Result<(), &'static str> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or("AccessDenied")?;
    let field = |name: &str| {
        let rest = authorization.split_once(&format!("{name}="))?.1;
        Some(rest.split([',', ' ']).next().unwrap_or(rest))
    };
    let scope: Vec<&str> = field("Credential").ok_or("AuthorizationHeaderMalformed")?.split('/').collect();
    let [id, date, signed_region, "s3", "aws4_request"] = scope[..] else { return Err("AuthorizationHeaderMalformed") };
    if id != key_id {
        return Err("InvalidAccessKeyId");
    }
    if signed_region != region {
        return Err("AuthorizationHeaderMalformed");
    }
    let signed = field("SignedHeaders").ok_or("AuthorizationHeaderMalformed")?;
    for needed in ["host", "x-amz-date", "x-amz-content-sha256"] {
        if !signed.split(';').any(|name| name == needed) {
            return Err("AccessDenied");
        }
    }
    let mut pairs: Vec<&str> = request.uri().query().unwrap_or_default().split('&').collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|pair| if pair.contains('=') || pair.is_empty() { pair.to_string() } else { format!("{pair}=") })
        .collect();
    let headers: String =
        signed.split(';').map(|name| format!("{name}:{}\n", header(name).unwrap_or_default().trim())).collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{}",
        request.method(),
        request.uri().path(),
        pairs.join("&"),
        header("x-amz-content-sha256").unwrap_or_default(),
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{date}/{region}/s3/aws4_request\n{}",
        header("x-amz-date").unwrap_or_default(),
        hex(&Sha256::digest(canonical.as_bytes())),
    );
    let parts = [date, region, "s3", "aws4_request"];
    let key = parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    if field("Signature") == Some(&hex(&hmac(&key, to_sign.as_bytes()))) {
        Ok(())
    } else {
        Err("SignatureDoesNotMatch")
    }
}
