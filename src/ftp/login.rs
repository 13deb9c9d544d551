//! Logging in: user and password, protection of the data connections, binary type, and what FEAT tells.

use anyhow::anyhow;
use encoding_rs::Encoding;

use super::control::connection::Control;
use super::control::reply::{Features, Reply};
use super::error::{FtpError, refused_login};
use super::list::stream::LearnedLists;
use crate::config::ServerSettings;

/// The server wants ACCT after user or password (RFC 959 section 5.4).
const ASKS_FOR_ACCOUNT: u16 = 332;

/// USER and PASS, protection of the data connections, binary type, and what FEAT tells.
pub(super) async fn log_in(
    control: &mut Control,
    settings: &ServerSettings,
    learned: &LearnedLists,
) -> Result<(), FtpError> {
    introduce(control, settings).await?;
    if control.tls().is_some() {
        protect_data(control).await?;
    }
    ask_for_binary(control).await?;
    let features = match learned.features.get() {
        Some(features) => features,
        None => ask_features(control, learned).await?,
    };
    if features.utf8 && settings.encoding == encoding_rs::UTF_8 {
        // a refusal does no harm; never sent for other encodings, because it switches IIS over
        control.command("OPTS", b"OPTS UTF8 ON").await?;
    }
    Ok(())
}

/// USER, and PASS where the server wants it, in the server's encoding. The first digit of the answers decides.
async fn introduce(control: &mut Control, settings: &ServerSettings) -> Result<(), FtpError> {
    let user = encoded(&settings.user, settings.encoding)?;
    let password = encoded(settings.password.reveal(), settings.encoding)?;
    let mut reply = control.command("login", &[b"USER ", user.as_slice()].concat()).await?;
    if reply.code / 100 == 3 && reply.code != ASKS_FOR_ACCOUNT {
        reply = control.command("login", &[b"PASS ", password.as_slice()].concat()).await?;
    }
    let reply = reply.without(&password);
    match reply.code {
        200..300 => Ok(()),
        ASKS_FOR_ACCOUNT => Err(FtpError::AccountAsked(reply)),
        _ => Err(match refused_login(reply, "login") {
            FtpError::LoginRefused(reply, _) => FtpError::LoginRefused(reply, settings.password.oddity()),
            other => other,
        }),
    }
}

/// PBSZ and PROT (RFC 4217 section 9). Implicit servers ask for these as well, though data on them is encrypted from
/// the start (vsftpd: 522). PBSZ says nothing where TLS is spoken, and may be refused (DrFTPD: 500); without PROT
/// data would come in the clear.
async fn protect_data(control: &mut Control) -> Result<(), FtpError> {
    suggest(control, "PBSZ", b"PBSZ 0").await?;
    let reply = suggest(control, "PROT", b"PROT P").await?;
    if reply.is_done() {
        return Ok(());
    }
    Err(FtpError::Tls(format!("PROT P is refused, and nothing is fetched in the clear: {reply}")))
}

/// Servers start in ASCII type, which would change line ends inside the zips. One that knows no types may have no
/// other than binary; if not, the content shows it.
async fn ask_for_binary(control: &mut Control) -> Result<(), FtpError> {
    // the same by another name (RFC 959 section 3.1.1.4)
    for line in ["TYPE I", "TYPE L 8"] {
        let reply = suggest(control, "TYPE", line.as_bytes()).await?;
        if reply.is_done() {
            return Ok(());
        }
        log::debug!("{line} is refused ({reply}); going on without it");
    }
    Ok(())
}

/// A command that can be done without: a refusal is no error, unless it is about the login.
async fn suggest(control: &mut Control, step: &'static str, line: &[u8]) -> Result<Reply, FtpError> {
    let reply = control.command(step, line).await?;
    if matches!(reply.code, 421 | 530) { Err(FtpError::Refused { step, reply }) } else { Ok(reply) }
}

async fn ask_features(control: &mut Control, learned: &LearnedLists) -> Result<Features, FtpError> {
    let reply = control.command("FEAT", b"FEAT").await?;
    let features = if reply.is_done() { Features::from_reply(&reply) } else { Features::default() };
    learned.features.set(Some(features));
    Ok(features)
}

/// User and password as the server reads them. The configuration was refused where that cannot be.
fn encoded(text: &str, encoding: &'static Encoding) -> Result<Vec<u8>, FtpError> {
    match encoding.encode(text) {
        (bytes, _, false) => Ok(bytes.into_owned()),
        _ => Err(FtpError::Local(anyhow!(
            "user or password hold a character that the server's encoding lacks"
        ))),
    }
}
