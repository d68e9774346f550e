use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{free_port, until};

/// A real OpenID Connect provider of a test's own: the certified `oidc-provider`, run by node. It lets anybody sign in
/// with any password; `ada` is in the group `oncall`. Ends with the value.
#[derive(Debug)]
pub struct Provider {
    process: Child,
    port: u16,
    redirect: String,
    _dir: TempDir,
}

/// What the provider's client is called, and its secret.
pub const CLIENT: (&str, &str) = ("lockkeeper", "a-secret-of-the-client-and-nobody-else");

/// The provider's program. Its keys are made anew at each start, so that starting it again changes them.
const PROGRAM: &str = r#"
import { Provider } from 'oidc-provider'
import { generateKeyPairSync } from 'node:crypto'

const { PORT, REDIRECT, CLIENT, SECRET, IN_TOKEN } = process.env
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: String(Date.now()) }
const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: [{
    client_id: CLIENT,
    client_secret: SECRET,
    redirect_uris: [REDIRECT],
    response_types: ['code'],
    grant_types: ['authorization_code'],
    id_token_signed_response_alg: 'ES256',
  }],
  jwks: { keys: [key] },
  pkce: { required: () => true },
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  conformIdTokenClaims: IN_TOKEN !== '1',
  cookies: { keys: ['a key of a test'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: `account-${id}`, preferred_username: id, groups: id === 'ada' ? ['oncall'] : [] }),
  }),
})
provider.listen(Number(PORT), '127.0.0.1')
"#;

impl Provider {
    /// One that sends people back to this address, and says their groups in the ID token or, like most, only at its user
    /// info endpoint. `None` where `LOCKKEEPER_OIDC_PROVIDER` does not name the folder of npm's `oidc-provider`.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn start(redirect: &str, groups_in_token: bool) -> Option<Provider> {
        let folder = PathBuf::from(std::env::var_os("LOCKKEEPER_OIDC_PROVIDER")?);
        Some(Provider::on(free_port(), redirect, groups_in_token, &folder).await)
    }

    /// Starts it again with other keys. Everybody's sign-in there is forgotten.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn restart(mut self, groups_in_token: bool) -> Provider {
        self.process.kill().await.unwrap();
        let folder = PathBuf::from(std::env::var_os("LOCKKEEPER_OIDC_PROVIDER").unwrap());
        Provider::on(self.port, &self.redirect, groups_in_token, &folder).await
    }

    async fn on(port: u16, redirect: &str, groups_in_token: bool, folder: &std::path::Path) -> Provider {
        let dir = TempDir::new().unwrap();
        let program = dir.path().join("provider.mjs");
        std::fs::write(&program, PROGRAM).unwrap();
        // Modules are looked for beside the program.
        std::os::unix::fs::symlink(folder.join("node_modules"), dir.path().join("node_modules")).unwrap();
        let process = Command::new("node")
            .arg(&program)
            .env("PORT", port.to_string())
            .env("REDIRECT", redirect)
            .env("CLIENT", CLIENT.0)
            .env("SECRET", CLIENT.1)
            .env("IN_TOKEN", if groups_in_token { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node");
        let provider = Provider { process, port, redirect: redirect.to_owned(), _dir: dir };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let discovery = format!("{}/.well-known/openid-configuration", provider.issuer());
        until(
            "the provider to answer",
            async || http.get(&discovery).send().await.is_ok_and(|answer| answer.status().is_success()),
            |answers| *answers,
        )
        .await;
        provider
    }

    /// What it calls itself.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
