//! The way to a bucket in one region: the address for listings and the SDK's client.

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};

use super::SdkSettings;
use crate::store::http::{CONNECT_MAX, encoded};
use crate::store::{Retry, StoreError, StoreErrorKind};

/// The way to a bucket in one region.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) region: String,
    /// The bucket's address without a query.
    pub(super) url: reqwest::Url,
    pub(super) sdk: aws_sdk_s3::Client,
}

impl Door {
    pub(super) fn new(
        bucket: &str,
        region: &str,
        endpoint: Option<&reqwest::Url>,
        settings: &SdkSettings,
        retry: &Retry,
    ) -> Result<Self, StoreError> {
        // The region becomes part of a host name.
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(StoreError::new(StoreErrorKind::Config, format!("{region:?} is no region"))
                .advise("regions are called like eu-central-1"));
        }
        // A dot in the bucket's name would not match the certificate of `*.s3.amazonaws.com`.
        let path_style = settings.path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        let server = match endpoint {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => aws_server(region, settings.use_fips, settings.use_dual_stack),
        };
        let url = if path_style {
            format!("{server}/{}", encoded(bucket.as_bytes()))
        } else {
            let (scheme, host) = server.split_once("://").unwrap_or(("https", &server));
            format!("{scheme}://{bucket}.{host}/")
        };
        let url = reqwest::Url::parse(&url).map_err(|error| {
            StoreError::new(StoreErrorKind::Config, format!("{url} is no address of a bucket")).because(error)
        })?;
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_MAX).read_timeout(retry.silence_max).build();
        let mut config = aws_sdk_s3::config::Builder::from(&settings.sdk)
            .region(Region::new(region.to_owned()))
            .force_path_style(path_style)
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Bytes that do not match their checksum are a finding of the audit, not a fault of the transport.
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .use_fips(settings.use_fips)
            .use_dual_stack(settings.use_dual_stack);
        config = match &settings.keys {
            Some(keys) => config.credentials_provider(keys.clone()),
            None => config.allow_no_auth(),
        };
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint.as_str());
        }
        Ok(Door { region: region.to_owned(), url, sdk: aws_sdk_s3::Client::from_conf(config.build()) })
    }
}

fn aws_server(region: &str, use_fips: bool, use_dual_stack: bool) -> String {
    let suffix = match region {
        region if region.starts_with("cn-") => "amazonaws.com.cn",
        region if region.starts_with("us-iso-") => "c2s.ic.gov",
        region if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ => "amazonaws.com",
    };
    let fips = if use_fips { "-fips" } else { "" };
    let dual = if use_dual_stack { "dualstack." } else { "" };
    format!("https://s3{fips}.{dual}{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        path_style: Option<bool>,
        fips: bool,
        dual: bool,
    ) -> String {
        let settings = SdkSettings {
            keys: None,
            sdk: aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build(),
            path_style,
            use_fips: fips,
            use_dual_stack: dual,
        };
        let endpoint = endpoint.map(|url| url.parse().unwrap());
        match Door::new(bucket, region, endpoint.as_ref(), &settings, &Retry::default()) {
            Ok(door) => door.url.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn buckets_are_addressed_as_amazon_and_others_want_it() {
        assert_eq!(url("b", "eu-west-1", None, None, false, false), "https://b.s3.eu-west-1.amazonaws.com/");
        assert_eq!(url("b.c", "eu-west-1", None, None, false, false), "https://s3.eu-west-1.amazonaws.com/b.c");
        assert_eq!(url("b", "cn-north-1", None, Some(true), false, false), "https://s3.cn-north-1.amazonaws.com.cn/b");
        assert_eq!(
            url("b", "us-east-1", None, None, true, true),
            "https://b.s3-fips.dualstack.us-east-1.amazonaws.com/"
        );
        let own = Some("http://127.0.0.1:9000");
        assert_eq!(url("b", "us-east-1", own, None, false, false), "http://127.0.0.1:9000/b");
        assert_eq!(url("t:b", "us-east-1", own, None, false, false), "http://127.0.0.1:9000/t%3Ab");
        assert_eq!(
            url("b", "us-east-1", Some("https://minio.example:443/base/"), None, false, false),
            "https://minio.example/base/b"
        );
        assert_eq!(
            url("b", "us-east-1", Some("https://r2.example"), Some(false), false, false),
            "https://b.r2.example/"
        );
        assert_eq!(
            url("b", "evil.example/", None, None, false, false),
            "\"evil.example/\" is no region; regions are called like eu-central-1"
        );
    }
}
