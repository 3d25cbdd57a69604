//! Whose tokens go with the requests: a credentials file, the login of `gcloud`, or the machine's own account, and
//! where wanted another service account that these may read as.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{BackoffConfig, CredentialProvider, RetryConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Mutex;

use super::fault::Refusal;
use crate::model::Timestamp;
use crate::store::http::{self, innermost, words};
use crate::store::media::Line;
use crate::store::{Again, Fault, Secret, StoreError, StoreErrorKind, StoreOptions};

/// Tokens that end sooner than this are renewed first.
const RENEW_BEFORE_END: Duration = Duration::from_secs(300);
/// What a token of ours may do.
const READ_ONLY: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// Where tokens for service accounts come from.
const IAM: &str = "https://iamcredentials.googleapis.com";
/// Where a login is turned into a token.
const OAUTH: &str = "https://oauth2.googleapis.com/token";
/// Largest credentials file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Time to find out that a machine has no account of its own.
const METADATA_MAX: Duration = Duration::from_secs(15);

/// A source of tokens that is asked again only when a token is about to end.
pub(super) struct Tokens {
    source: Source,
    /// The address that gives tokens of a service account.
    impersonate: Option<(reqwest::Url, Vec<String>)>,
    http: reqwest::Client,
    held: Mutex<Option<(Secret, Instant)>>,
}

enum Source {
    /// A service account's key file, or the machine's metadata. Keeps its tokens itself.
    Library(Arc<dyn CredentialProvider<Credential = GcpCredential>>),
    /// What `gcloud auth application-default login` leaves behind.
    Login { token_uri: reqwest::Url, id: String, secret: Secret, refresh: Secret },
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl Tokens {
    /// Finds the source of tokens. `None`: requests to a server of one's own, and nobody named credentials for it.
    pub(super) fn find(
        options: &StoreOptions,
        is_google: bool,
        server: &reqwest::Url,
        http: &reqwest::Client,
    ) -> Result<Option<Self>, StoreError> {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // A login to Google is not for other servers, and for none without encryption.
        let may_take = is_google || server.scheme() == "https";
        let file = options
            .google_application_credentials
            .clone()
            .or_else(|| env("GOOGLE_APPLICATION_CREDENTIALS").filter(|_| may_take));
        let well_known = || {
            let folder = env("CLOUDSDK_CONFIG").or_else(|| Some(env("HOME")?.join(".config/gcloud")))?;
            Some(folder.join("application_default_credentials.json")).filter(|path| path.exists())
        };
        let wanted = is_google || options.impersonate_service_account.is_some();
        let Some(file) = file.or_else(|| well_known().filter(|_| wanted)) else {
            if !wanted {
                return Ok(None);
            }
            return Tokens::new(library(GoogleCloudStorageBuilder::new(), None)?, None, options, http).map(Some);
        };
        let credentials = read_file(&file)?;
        let (source, impersonate) = source(&credentials, &file)?;
        Tokens::new(source, impersonate, options, http).map(Some)
    }

    fn new(
        source: Source,
        from_file: Option<(reqwest::Url, Vec<String>)>,
        options: &StoreOptions,
        http: &reqwest::Client,
    ) -> Result<Self, StoreError> {
        let impersonate = match &options.impersonate_service_account {
            None => from_file,
            Some(account) => {
                let iam = std::env::var("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS").ok();
                let iam = iam.filter(|url| !url.is_empty()).unwrap_or_else(|| IAM.to_owned());
                Some((account_url(&iam, account)?, Vec::new()))
            }
        };
        Ok(Tokens { source, impersonate, http: http.clone(), held: Mutex::new(None) })
    }

    /// A token for the next request.
    pub(super) async fn get(&self, line: &Line) -> Result<String, Fault> {
        if let (Source::Library(provider), None) = (&self.source, &self.impersonate) {
            return from_library(provider).await;
        }
        let mut held = self.held.lock().await;
        if let Some((token, end)) = held.as_ref().filter(|(_, end)| *end > Instant::now() + RENEW_BEFORE_END) {
            let _ = end;
            return Ok(token.reveal().to_owned());
        }
        let (mut token, mut life) = match &self.source {
            Source::Library(provider) => (from_library(provider).await?, RENEW_BEFORE_END),
            Source::Login { token_uri, id, secret, refresh } => {
                let form = [
                    ("grant_type", "refresh_token".as_bytes()),
                    ("client_id", id.as_bytes()),
                    ("client_secret", secret.reveal().as_bytes()),
                    ("refresh_token", refresh.reveal().as_bytes()),
                ];
                let request = self.http.post(token_uri.clone()).body(http::query(&form));
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let answer = ask(line, request, "cannot renew the Google login", None).await?;
                let life = answer["expires_in"].as_u64().unwrap_or(0);
                (text(&answer, "access_token")?, Duration::from_secs(life.min(86_400)))
            }
        };
        if let Some((url, delegates)) = &self.impersonate {
            let body = json!({"scope": [READ_ONLY], "delegates": delegates, "lifetime": "3600s"});
            let request = self.http.post(url.clone()).bearer_auth(token).body(body.to_string());
            let request = request.header("content-type", "application/json");
            let account =
                words(url.path().rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default());
            let account = account.replace("%40", "@");
            let advice = format!(
                "grant iam.serviceAccounts.getAccessToken (roles/iam.serviceAccountTokenCreator holds it) on {account}"
            );
            let answer = ask(line, request, &format!("cannot read as {account}"), Some(&advice)).await?;
            let end: Option<Timestamp> = answer["expireTime"].as_str().and_then(|end| end.parse().ok());
            life = end
                .and_then(|end| Duration::try_from(end.duration_since(Timestamp::now())).ok())
                .unwrap_or_default()
                .min(Duration::from_secs(86_400));
            token = text(&answer, "accessToken")?;
        }
        *held = Some((Secret::from(token.clone()), Instant::now() + life));
        Ok(token)
    }
}

async fn from_library(provider: &Arc<dyn CredentialProvider<Credential = GcpCredential>>) -> Result<String, Fault> {
    let credential = provider.get_credential().await.map_err(|error| {
        StoreError::new(
            StoreErrorKind::Unauthenticated,
            format!("there are no Google credentials ({})", innermost(&error)),
        )
        .advise(
            "name a credentials file with GOOGLE_APPLICATION_CREDENTIALS, log in with \
                 `gcloud auth application-default login`, or run where a service account is attached",
        )
        .because(error)
    })?;
    Ok(credential.bearer.clone())
}

/// Sends a request for a token.
async fn ask(line: &Line, request: reqwest::RequestBuilder, what: &str, denied: Option<&str>) -> Result<Value, Fault> {
    let unauthenticated = |why: &str| StoreError::new(StoreErrorKind::Unauthenticated, format!("{what}: {why}"));
    let request =
        request.build().map_err(|error| unauthenticated("the request cannot be sent").because(error.without_url()))?;
    let silence_max = line.retry.silence_max;
    let mut response = http::send(&line.http, request, silence_max).await?;
    let status = response.status().as_u16();
    // Answers that hold a token are short, like errors.
    let body = http::error_body(&mut response, silence_max).await;
    if status == 200 {
        return serde_json::from_slice(&body).map_err(|_| unauthenticated("the answer makes no sense").into());
    }
    let refusal = Refusal::read(status, &body, None);
    // Being asked to slow down by another service says nothing on the bucket.
    let again = if refusal.again() == Again::No { Again::No } else { Again::Passing(None) };
    let error = unauthenticated(&refusal.said());
    let error = match denied.filter(|_| matches!(status, 403 | 404)) {
        Some(advice) => StoreError { kind: StoreErrorKind::Denied, ..error }.advise(advice),
        None => error.advise("log in again with `gcloud auth application-default login`"),
    };
    Err(Fault { error, again })
}

fn text(answer: &Value, field: &str) -> Result<String, Fault> {
    let text = answer[field].as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    text.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Unauthenticated, format!("an answer of Google's holds no {field}")).into()
    })
}

fn account_url(iam: &str, account: &str) -> Result<reqwest::Url, StoreError> {
    let iam = iam.trim_end_matches('/');
    let bad = || {
        StoreError::new(StoreErrorKind::Config, format!("{} is no service account", words(account)))
            .advise("write NAME@PROJECT.iam.gserviceaccount.com")
    };
    if !account.contains('@') {
        return Err(bad());
    }
    let account = http::encoded(account.as_bytes());
    let url = format!("{iam}/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
    reqwest::Url::parse(&url).map_err(|error| bad().because(error))
}

fn wrong(file: &Path, why: &str) -> StoreError {
    let message = format!("cannot use the Google credentials in {}: {why}", file.display());
    StoreError::new(StoreErrorKind::Unauthenticated, message)
}

fn read_file(file: &Path) -> Result<Value, StoreError> {
    use std::io::Read;
    let mut body = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(FILE_BYTES_MAX).read_to_end(&mut body))
        .map_err(|error| wrong(file, &error.to_string()).because(error))?;
    serde_json::from_slice(&body).map_err(|_| wrong(file, "it is not JSON"))
}

type Impersonate = Option<(reqwest::Url, Vec<String>)>;

/// What a credentials file is a source of.
fn source(credentials: &Value, file: &Path) -> Result<(Source, Impersonate), StoreError> {
    let url = |text: &str| reqwest::Url::parse(text).map_err(|_| wrong(file, "an address in it is none"));
    let field = |name: &str| {
        credentials[name].as_str().map(ToOwned::to_owned).ok_or_else(|| wrong(file, &format!("it lacks {name}")))
    };
    match credentials["type"].as_str().unwrap_or("service_account") {
        "service_account" => {
            let builder = GoogleCloudStorageBuilder::new().with_service_account_key(credentials.to_string());
            Ok((library(builder, Some(file))?, None))
        }
        "authorized_user" => {
            let token_uri = url(credentials["token_uri"].as_str().unwrap_or(OAUTH))?;
            let (id, secret, refresh) = (field("client_id")?, field("client_secret")?, field("refresh_token")?);
            Ok((Source::Login { token_uri, id, secret: secret.into(), refresh: refresh.into() }, None))
        }
        "impersonated_service_account" => {
            let inner = &credentials["source_credentials"];
            // One level: a file that impersonates to impersonate is not written by any tool.
            if inner["type"] == "impersonated_service_account" {
                return Err(wrong(file, "it impersonates twice"));
            }
            let (inner, _) = source(inner, file)?;
            let delegates = credentials["delegates"].as_array().map(Vec::as_slice).unwrap_or_default();
            let delegates = delegates.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect();
            Ok((inner, Some((url(&field("service_account_impersonation_url")?)?, delegates))))
        }
        other => Err(wrong(file, &format!("its type is {}, which walproof does not know", words(other))).advise(
            "use a service account's key, `gcloud auth application-default login`, or a machine with a service account",
        )),
    }
}

fn library(builder: GoogleCloudStorageBuilder, file: Option<&Path>) -> Result<Source, StoreError> {
    let retry = RetryConfig { max_retries: 2, retry_timeout: METADATA_MAX, backoff: BackoffConfig::default() };
    // The bucket's name is for the library alone, which would not build without one.
    let built = builder.with_bucket_name("none").with_retry(retry).build();
    let store = built.map_err(|error| match file {
        Some(file) => wrong(file, &innermost(&error)).because(error),
        None => {
            StoreError::new(StoreErrorKind::Unauthenticated, format!("no Google credentials: {}", innermost(&error)))
                .because(error)
        }
    })?;
    Ok(Source::Library(Arc::clone(store.credentials())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(credentials: Value) -> String {
        match source(&credentials, Path::new("f.json")) {
            Ok((Source::Library(_), None)) => "library".into(),
            Ok((Source::Login { token_uri, .. }, None)) => format!("login at {token_uri}"),
            Ok((_, Some((url, delegates)))) => format!("{url} by {delegates:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn credentials_files_of_all_kinds() {
        let login = json!({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"});
        assert_eq!(kind(login.clone()), format!("login at {OAUTH}"));
        assert_eq!(
            kind(json!({"type": "impersonated_service_account", "source_credentials": login, "delegates": ["d"],
                "service_account_impersonation_url": "https://iam.example/v1/x:generateAccessToken"})),
            "https://iam.example/v1/x:generateAccessToken by [\"d\"]"
        );
        assert!(kind(json!({"type": "authorized_user", "client_id": "i"})).ends_with("it lacks client_secret"));
        assert!(kind(json!({"type": "external_account"})).contains("its type is external_account"));
        assert!(kind(json!([])).starts_with("cannot use the Google credentials in f.json"));
        assert_eq!(
            account_url(IAM, "a@p.iam.gserviceaccount.com").unwrap().as_str(),
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
             a%40p.iam.gserviceaccount.com:generateAccessToken"
        );
        assert!(account_url(IAM, "a").is_err());
    }
}
