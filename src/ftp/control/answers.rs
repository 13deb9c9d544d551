//! Which answers can belong to which command, by their codes (RFC 959 section 5.4, RFC 2228, RFC 2428, RFC 3659).
//!
//! Only codes that say what they answer are looked at. A session that gives one of them to another command is one
//! answer late or early, and nothing it says later can be relied on; real servers come into that state after a
//! transfer that was broken off, or a data port that was not used (Twisted, pyftpdlib, LightFTP).

use super::reply::Reply;

/// Commands that a listing or a file follows.
const TRANSFERS: [&str; 4] = ["RETR", "LIST", "MLSD", "NLST"];
/// Commands by which a data connection is agreed on.
const CHANNELS: [&str; 4] = ["PASV", "EPSV", "PORT", "EPRT"];

/// Words by which a session says that it has no data connection to give, or is still busy with the one before, whatever
/// its code (LightFTP: "550 Another action is in progress"). "Upload in progress" is about a file, and not among them.
const NO_DATA_WORDS: [&str; 15] = [
    "another action",
    "another transfer",
    "another operation",
    "another command is",
    "another data",
    "no data connection",
    "data connection already",
    "open data connection",
    "build data connection",
    "open passive",
    "cannot bind",
    "can't bind",
    "no ports",
    "no free port",
    "address already in use",
];

/// Returns whether a reply of `code` can be the answer to the command of that `step`.
pub(crate) fn belongs(step: &str, code: u16) -> bool {
    let is = |steps: &[&str]| steps.contains(&step);
    match code {
        125 | 150 | 225 | 226 => is(&TRANSFERS),
        211..=212 | 214 | 215 => !is(&TRANSFERS) && !is(&CHANNELS) && !is(&["CWD", "REST", "SIZE"]),
        213 => is(&["SIZE", "MDTM", "STAT"]),
        220 => !is(&TRANSFERS) && !is(&CHANNELS) && !is(&["CWD", "SIZE", "login"]),
        227 => step == "PASV",
        229 => step == "EPSV",
        230..=235 => step == "login",
        331..=336 => step == "login",
        350 => step == "REST",
        200..=299 => !is(&["PASV", "EPSV"]),
        _ => true,
    }
}

/// Returns whether a refusal means that the session has no data connection for anybody, so that nothing is
/// said against the directory or file that one was wanted for.
pub(crate) fn denies_data(step: &str, reply: &Reply) -> bool {
    let of_channel = CHANNELS.contains(&step);
    if !of_channel && !TRANSFERS.contains(&step) {
        return false;
    }
    match reply.code {
        425 => true,
        421 | 530 => false,
        400..=499 if of_channel => true,
        400..=599 => NO_DATA_WORDS.iter().any(|word| reply.mentions(word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_name_another_command_are_out_of_step() {
        for (step, code) in [
            ("PASV", 250),
            ("PASV", 229),
            ("PASV", 200),
            ("EPSV", 227),
            ("EPSV", 226),
            ("CWD", 226),
            ("CWD", 150),
            ("CWD", 227),
            ("SIZE", 150),
            ("SIZE", 226),
            ("SIZE", 350),
            ("REST", 227),
            ("RETR", 213),
            ("RETR", 350),
            ("LIST", 227),
            ("MLSD", 331),
            ("TYPE", 230),
            ("login", 213),
        ] {
            assert!(!belongs(step, code), "{code} to {step}");
        }
    }

    #[test]
    fn odd_codes_of_the_right_class_are_answers() {
        for (step, code) in [
            ("login", 200),
            ("login", 202),
            ("login", 230),
            ("login", 232),
            ("login", 331),
            ("login", 332),
            ("CWD", 200),
            ("CWD", 250),
            ("CWD", 257),
            ("CWD", 299),
            ("TYPE", 250),
            ("PBSZ", 220),
            ("PROT", 200),
            ("FEAT", 211),
            ("FEAT", 200),
            ("HELP", 214),
            ("HELP", 220),
            ("OPTS", 202),
            ("SIZE", 213),
            ("SIZE", 200),
            ("REST", 350),
            ("REST", 200),
            ("RETR", 125),
            ("RETR", 226),
            ("LIST", 250),
            ("PASV", 227),
            ("EPSV", 229),
            ("PORT", 200),
            ("CWD", 550),
            ("SIZE", 110),
        ] {
            assert!(belongs(step, code), "{code} to {step}");
        }
    }

    #[test]
    fn a_session_without_data_connections_is_told_from_a_file_that_is_refused() {
        let denies =
            |step, text: &str| denies_data(step, &Reply::from_body(format!("{text}\r\n").into_bytes()));
        for (step, text) in [
            ("PASV", "425 Cannot open passive connection."),
            ("EPSV", "450 busy"),
            ("PASV", "500 Another action is in progress."),
            ("PORT", "500 cannot bind"),
            ("LIST", "425 Can't open data connection."),
            ("RETR", "550 Another action is in progress."),
            ("RETR", "503 No data connection"),
        ] {
            assert!(denies(step, text), "{step}: {text}");
        }
        for (step, text) in [
            ("PASV", "500 Unknown command"),
            ("PASV", "421 closing"),
            ("RETR", "550 Upload in progress"),
            ("RETR", "450 File is busy"),
            ("LIST", "550 Permission denied"),
            ("SIZE", "425 what"),
        ] {
            assert!(!denies(step, text), "{step}: {text}");
        }
    }
}
