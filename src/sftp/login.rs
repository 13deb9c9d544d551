//! Logging in: a key, a password, or answers to questions for it, each tried once so that no account is locked. What the
//! server says to that is kept for whoever has to mend it.

use std::pin::pin;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{ChannelOpenFailure, MethodKind, MethodSet};

use super::error::{SftpError, lost, shown};
use super::host_key::{HostKeyVerifier, NO_WAY_LEFT};
use super::server_messages::ServerMessages;
use super::socket::AbortOnDrop;
use crate::config::{ServerSettings, SftpSettings};
use crate::net::deadline::within;

/// Steps of a login: a key, then a password where the server wants both, and one more for servers with a third.
const MAX_STEPS: usize = 4;
/// Rounds of questions; a server asks for a password, and may say something after it.
const MAX_QUESTIONS: usize = 4;
/// A server that answered a password with something else than yes, no or a banner, and nothing more for so long, waits
/// for another one.
const PAUSE: Duration = Duration::from_secs(3);

/// ServerMessages of servers whose password has expired: in the dialogues of PAM, Windows and others.
const EXPIRED_WORDS: [&str; 9] = [
    "expired",
    "new password",
    "new unix password",
    "change your password",
    "must be changed",
    "must change",
    "新密码",
    "新口令",
    "过期",
];
/// ServerMessages of questions for a new password, or for one once more, which none is sent for.
const NEW_WORDS: [&str; 8] =
    ["new pass", "retype", "re-type", "reenter", "re-enter", "again", "confirm", "确认"];
/// ServerMessages of questions for something that is used once, or lies elsewhere.
const OTHER_WORDS: [&str; 12] = [
    "verification code",
    "one-time",
    "one time",
    "otp",
    "token",
    "authenticator",
    "security code",
    "passcode",
    "2fa",
    "验证码",
    "动态",
    "令牌",
];

/// One login under way.
pub(super) struct Login<'l> {
    pub(super) settings: &'l ServerSettings,
    pub(super) sftp: &'l SftpSettings,
    pub(super) handle: &'l mut Handle<HostKeyVerifier>,
    pub(super) messages: &'l ServerMessages,
    pub(super) abort_on_drop: &'l AbortOnDrop,
}

impl Login<'_> {
    /// Asks how the server lets users in, and tries what is configured of that: each way once.
    ///
    /// # Errors
    ///
    /// [`SftpError::LoginRefused`] with the server's words, among others.
    pub(super) async fn log_in(mut self) -> Result<(), SftpError> {
        let messages = self.messages.clone();
        let oddity = if self.sftp.sends_password { self.settings.password.oddity() } else { "" };
        self.try_all().await.map_err(|error| match error {
            SftpError::LoginRefused(text) => {
                SftpError::LoginRefused(format!("{}{oddity}", messages.explain(text)))
            }
            error => error,
        })
    }

    async fn try_all(&mut self) -> Result<(), SftpError> {
        let user = &self.settings.user;
        let asked = within("login", self.settings.timeout, self.handle.authenticate_none(user)).await?;
        let mut outcome = asked.map_err(|_| self.lost())?;
        let mut ways = self.ways();
        for _ in 0..MAX_STEPS {
            let AuthResult::Failure { remaining_methods, .. } = outcome else { return Ok(()) };
            if self.handle.is_closed() {
                return Err(thrown_out(self.messages));
            }
            let Some(place) = ways.iter().position(|way| remaining_methods.contains(way)) else {
                return Err(SftpError::LoginRefused(self.refusal(&remaining_methods, &ways)));
            };
            let way = ways.remove(place);
            if way == MethodKind::Password {
                // the same password by another door is the same to a server that counts
                ways.retain(|way| *way != MethodKind::KeyboardInteractive);
            }
            outcome = within("login", self.settings.timeout, self.log_in_by(way)).await??;
        }
        match outcome {
            AuthResult::Success => Ok(()),
            AuthResult::Failure { .. } => {
                Err(SftpError::LoginRefused("the server asks for more and more".to_owned()))
            }
        }
    }

    fn lost(&self) -> SftpError {
        lost("login", self.messages.disconnect_reason())
    }

    /// The ways to log in that the configuration has something for, best first.
    fn ways(&self) -> Vec<MethodKind> {
        let key = self.sftp.private_key.is_some().then_some(MethodKind::PublicKey);
        let password = [MethodKind::Password, MethodKind::KeyboardInteractive];
        let password = password.into_iter().filter(|_| self.sftp.sends_password);
        key.into_iter().chain(password).collect()
    }

    fn refusal(&self, remaining: &MethodSet, left: &[MethodKind]) -> String {
        let offered: Vec<&str> = remaining.iter().map(<&str>::from).collect();
        let offered = if offered.is_empty() { "nothing more".to_owned() } else { offered.join(" or ") };
        let all = self.ways();
        let tried: Vec<&str> = all.iter().filter(|way| !left.contains(way)).map(<&str>::from).collect();
        match tried.as_slice() {
            [] => format!("the server takes {offered}, for which nothing is configured"),
            tried => format!("{} was not taken, and the server takes {offered}", tried.join(" or ")),
        }
    }

    async fn log_in_by(&mut self, way: MethodKind) -> Result<AuthResult, SftpError> {
        match (way, &self.sftp.private_key) {
            (MethodKind::PublicKey, Some(key)) => {
                let hash = if key.is_rsa() { self.rsa_hash().await? } else { None };
                let key = PrivateKeyWithHashAlg::new(key.reveal(), hash);
                let trying = self.handle.authenticate_publickey(&self.settings.user, key).await;
                trying.map_err(|_| self.lost())
            }
            (MethodKind::KeyboardInteractive, _) => self.answer_questions().await,
            _ => self.send_password().await,
        }
    }

    /// SHA-1 is signed with on request alone. Servers that do not say what they take are old.
    async fn rsa_hash(&self) -> Result<Option<HashAlg>, SftpError> {
        Ok(match self.handle.best_supported_rsa_hash().await.map_err(|_| self.lost())? {
            Some(Some(hash)) => Some(hash),
            _ if self.sftp.old_algorithms => None,
            _ => Some(HashAlg::Sha256),
        })
    }

    /// A server may answer with a request to change the password (RFC 4252 section 8), of which the library for SSH
    /// says nothing: all that is seen is that something came, and no verdict.
    async fn send_password(&mut self) -> Result<AuthResult, SftpError> {
        let Self { settings, messages, abort_on_drop, .. } = *self;
        let before = (abort_on_drop.received(), messages.banners());
        let (mut heard, pause) = (before.0, PAUSE.min(settings.timeout / 3));
        let outcome = {
            let password = settings.password.reveal();
            let mut trying = pin!(self.handle.authenticate_password(&settings.user, password));
            loop {
                if let Ok(outcome) = tokio::time::timeout(pause, &mut trying).await {
                    break outcome;
                }
                let now = abort_on_drop.received();
                if now > before.0 && now == heard && messages.banners() == before.1 {
                    return Err(SftpError::LoginRefused(
                        "the server answers the password with a question of its own, as it does when the password has expired and a new one is to be chosen; log in by hand and change it".to_owned(),
                    ));
                }
                heard = now;
            }
        };
        outcome.map_err(|_| self.lost())
    }

    /// Answers the question for the password with it, once, and what is asked openly with nothing. No other question
    /// is answered: the login ends with the server's words.
    async fn answer_questions(&mut self) -> Result<AuthResult, SftpError> {
        let user = &self.settings.user;
        let starting = self.handle.authenticate_keyboard_interactive_start(user, None).await;
        let mut answer = starting.map_err(|_| self.lost())?;
        let (mut is_sent, mut said) = (false, String::new());
        for _ in 0..MAX_QUESTIONS {
            let (instructions, prompts) = match answer {
                KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
                KeyboardInteractiveAuthResponse::Failure { .. } if !said.is_empty() => {
                    return Err(SftpError::LoginRefused(format!("the server says: {said}")));
                }
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                    return Ok(AuthResult::Failure { remaining_methods, partial_success });
                }
                KeyboardInteractiveAuthResponse::InfoRequest { name, instructions, prompts } => {
                    (format!("{name} {instructions}"), prompts)
                }
            };
            let instructions = shown(instructions.as_bytes());
            let answers = answers(&instructions, &prompts, self.settings.password.reveal(), &mut is_sent)
                .map_err(SftpError::LoginRefused)?;
            // what comes after the password says why it does not suffice
            if is_sent && prompts.is_empty() {
                said = instructions;
            }
            let answering = self.handle.authenticate_keyboard_interactive_respond(answers).await;
            answer = answering.map_err(|_| self.lost())?;
        }
        Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false })
    }
}

/// The answers to the questions of one round; or why they are not answered.
fn answers(
    instructions: &str,
    prompts: &[Prompt],
    password: &str,
    is_sent: &mut bool,
) -> Result<Vec<String>, String> {
    let questions: Vec<String> = prompts.iter().map(|prompt| shown(prompt.prompt.as_bytes())).collect();
    let questions = questions.join(" / ");
    let asked = [instructions, &questions].map(str::trim).into_iter().filter(|text| !text.is_empty());
    let asked = asked.collect::<Vec<_>>().join(" / ");
    let mentions = |text: &str, messages: &[&str]| {
        let lower = text.to_lowercase();
        messages.iter().any(|word| lower.contains(word))
    };
    let is_hidden = prompts.iter().any(|prompt| !prompt.echo);
    if !prompts.is_empty() && (mentions(&asked, &EXPIRED_WORDS) || mentions(&questions, &NEW_WORDS)) {
        return Err(format!(
            "the server asks for a new password, as it does when the one in use has expired: \"{asked}\"; log in by hand and change it"
        ));
    }
    if is_hidden && mentions(&questions, &OTHER_WORDS) {
        return Err(format!("the server asks for what is not configured: \"{asked}\""));
    }
    let mut answers = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let is_for_password = !prompt.echo || prompt.prompt.to_lowercase().contains("password");
        if is_for_password && *is_sent {
            return Err(format!("the server asks for more than the password: \"{asked}\""));
        }
        *is_sent |= is_for_password;
        answers.push(if is_for_password { password.to_owned() } else { String::new() });
    }
    Ok(answers)
}

/// ServerMessages by which servers say that it is the number of logins, and no fault of the password.
const LIMIT_WORDS: [&str; 4] =
    ["too many connections", "too many logins", "too many users", "maximum number"];
/// The same of a password or key that was tried too often.
const ATTEMPT_WORDS: [&str; 1] = ["too many authentication failures"];

/// The server closed the connection in the middle of a login.
fn thrown_out(messages: &ServerMessages) -> SftpError {
    let said = messages.disconnect_reason();
    let text = said.clone().unwrap_or_default();
    let lower = text.to_lowercase();
    let any = |known: &[&str]| known.iter().any(|word| lower.contains(word));
    if text == NO_WAY_LEFT || any(&ATTEMPT_WORDS) {
        SftpError::LoginRefused(text)
    } else if any(&LIMIT_WORDS) {
        SftpError::TooManyLogins(text)
    } else {
        lost("login", said)
    }
}

/// What a refused channel is: mostly a limit.
pub(super) fn no_channel(error: russh::Error, messages: &ServerMessages) -> SftpError {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::Other { reason, .. }) => {
            SftpError::TooManyLogins(shown(reason.as_bytes()))
        }
        russh::Error::ChannelOpenFailure(failure) => {
            SftpError::TooManyLogins(format!("no channel is opened ({failure:?})"))
        }
        _ => thrown_out(messages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(text: &str, echo: bool) -> Prompt {
        Prompt { prompt: text.to_owned(), echo }
    }

    #[test]
    fn the_password_is_the_answer_to_one_hidden_question_and_open_ones_get_nothing() {
        let mut is_sent = false;
        let asked = [prompt("Site: ", true), prompt("mro@omc01's password: ", false)];
        assert_eq!(answers("", &asked, "pw", &mut is_sent).unwrap(), ["", "pw"]);
        assert_eq!(answers("Welcome", &[], "pw", &mut is_sent).unwrap(), [""; 0]);
        let again = answers("", &[prompt("Password:", false)], "pw", &mut is_sent).unwrap_err();
        assert_eq!(again, "the server asks for more than the password: \"Password:\"");
    }

    #[test]
    fn no_old_password_is_sent_for_a_new_one() {
        for (instructions, asked) in [
            ("", "New password: "),
            ("", "Enter new password:"),
            ("Your password has expired", "(current) UNIX password: "),
            ("", "Retype new password: "),
            ("You must change your password now", "Password:"),
            ("", "请输入新密码："),
        ] {
            let refusal = answers(instructions, &[prompt(asked, false)], "pw", &mut false).unwrap_err();
            assert!(refusal.contains(asked.trim()) && refusal.contains(instructions), "{refusal}");
            assert!(refusal.starts_with("the server asks for a new password"), "{refusal}");
        }
    }

    #[test]
    fn a_code_that_is_used_once_is_not_answered_with_the_password() {
        for asked in ["Verification code: ", "OTP:", "Enter PASSCODE:", "请输入动态口令:"] {
            let refusal = answers("", &[prompt(asked, false)], "pw", &mut false).unwrap_err();
            assert!(refusal.starts_with("the server asks for what is not configured: "), "{refusal}");
        }
    }
}
