//! How each daemon is told to serve one directory to one user, without touching the system's accounts.
//!
//! Tried with Debian 12: vsftpd 3.0.3, ProFTPD 1.3.8, Pure-FTPd 1.0.50. Every line is there for a reason, and the
//! odd ones say it.

use std::path::PathBuf;
use std::process::Command;

use super::{Kind, Options, Place, Tls};

/// The user of ProFTPD and Pure-FTPd.
pub const USER: &str = "mro";

/// The password, everywhere.
pub const PASSWORD: &str = "mro-pass";

/// [`PASSWORD`] as `openssl passwd -6` hashes it. Pure-FTPd's own hash (argon2) would take seconds at each login.
const HASH: &str =
    "$6$mrosync$t1NRLzHERsXaG5NEz7aMIMP6Hte/OhHnPRlce.9RdWzBbu33TsFU/nD11dAwy1Hyx1CLdkNnt2JH7znsUDdNL/";

/// `nobody`, as every Debian numbers it.
const NOBODY: u32 = 65534;

/// Where the daemon's program lies in the unpacked packages.
pub fn program(kind: Kind) -> &'static str {
    match kind {
        Kind::Vsftpd => "vsftpd/usr/sbin/vsftpd",
        Kind::Proftpd => "proftpd/usr/sbin/proftpd",
        Kind::PureFtpd => "pure-ftpd/usr/sbin/pure-ftpd",
    }
}

/// Writes the configuration, and returns the command that starts the daemon in the foreground.
///
/// Panics at options that the daemon does not have: a test that asks for them would try nothing.
pub fn command(kind: Kind, options: &Options, place: &Place) -> Command {
    let is_pure = kind == Kind::PureFtpd;
    assert!(is_pure || options.listing_limit.is_none(), "{kind:?} does not limit listings");
    assert!(!is_pure || !options.require_session_reuse, "Pure-FTPd does not ask for session reuse");
    assert!(!is_pure || options.tls != Tls::Implicit, "Pure-FTPd has no implicit TLS");
    assert!(kind == Kind::Proftpd || !options.tls12_only, "{kind:?} does not choose its version of TLS");
    let mut command = Command::new(place.servers.join(program(kind)));
    match kind {
        Kind::Vsftpd => {
            command.arg(vsftpd(options, place));
        }
        Kind::Proftpd => {
            command.arg("--nodaemon").arg("--config").arg(proftpd(options, place));
        }
        Kind::PureFtpd => {
            command.args(pure_ftpd(options, place));
        }
    }
    command
}

fn vsftpd(options: &Options, place: &Place) -> PathBuf {
    // an empty directory that its unprivileged half locks itself into
    let jail = place.path("empty");
    std::fs::create_dir(&jail).expect("an empty directory");
    // the one way to a password without PAM, and so without an account: only anonymous users with an
    // "e-mail address" of this list are let in
    let passwords = place.write("passwords", &format!("{PASSWORD}\n"));
    let mut lines = format!(
        "listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
secure_email_list_enable=YES
email_password_file={passwords}
# not nobody: the user's home must be there, though anon_root takes its place
ftp_username=daemon
anon_root={root}
secure_chroot_dir={jail}
# else files that are not readable for everybody are refused even where the user may read them
anon_world_readable_only=NO
# fails in containers: 500 OOPS: priv_sock_get_cmd
seccomp_sandbox=NO
# would write to /var/log
xferlog_enable=NO
# would look names up
tcp_wrappers=NO
",
        port = place.port,
        passwords = passwords.display(),
        root = place.path("root").display(),
        jail = jail.display(),
    );
    if let Some(clients) = options.max_clients {
        lines += &format!("max_clients={clients}\n");
    }
    if options.tls != Tls::Off {
        lines += &format!(
            "ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
implicit_ssl={implicit}
require_ssl_reuse={reuse}
# the names are historical: keys of any kind are taken
rsa_cert_file={certificate}
rsa_private_key_file={key}
# its default is one cipher for RSA keys
ssl_ciphers=HIGH
",
            implicit = yes(options.tls == Tls::Implicit),
            reuse = yes(options.require_session_reuse),
            certificate = place.path("certificate.pem").display(),
            key = place.path("key.pem").display(),
        );
    }
    // must belong to root
    place.write("vsftpd.conf", &lines)
}

fn yes(wanted: bool) -> &'static str {
    if wanted { "YES" } else { "NO" }
}

fn proftpd(options: &Options, place: &Place) -> PathBuf {
    let root = place.path("root");
    // refused where everybody can read it
    let users =
        place.write("users", &format!("{USER}:{HASH}:{NOBODY}:{NOBODY}::{}:/bin/sh\n", root.display()));
    let mut lines = format!(
        "ServerType standalone
ServerName \"test\"
DefaultAddress 127.0.0.1
# else it listens on all addresses
SocketBindTight on
Port {port}
UseIPv6 off
UseReverseDNS off
User nobody
Group nogroup
AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
# else /etc/ftpusers of the machine decides
UseFtpUsers off
DefaultRoot ~
# would slow logins down on purpose
DelayEngine off
# these would go to /run and /var/log
ScoreboardFile {directory}/scoreboard
PidFile {directory}/pid
SystemLog {directory}/system.log
TransferLog none
WtmpLog off
MaxInstances 100
# names stay as they are on the disk; what is meant is in Options::utf8
UseEncoding {encoding}
ModulePath {servers}/proftpd/usr/lib/proftpd
",
        port = place.port,
        users = users.display(),
        directory = place.directory.display(),
        servers = place.servers.display(),
        encoding = if options.utf8 { "UTF-8 UTF-8" } else { "off" },
    );
    if let Some(clients) = options.max_clients {
        lines += &format!("MaxClients {clients} \"only %m may be logged in\"\n");
    }
    if options.tls != Tls::Off {
        lines += &proftpd_tls(options, place);
    }
    place.write("proftpd.conf", &lines)
}

fn proftpd_tls(options: &Options, place: &Place) -> String {
    let mut relaxed = Vec::new();
    if !options.require_session_reuse {
        relaxed.push("NoSessionReuseRequired");
    }
    if options.tls == Tls::Implicit {
        relaxed.push("UseImplicitSSL");
    }
    // the directive wants an argument
    let tls_options =
        if relaxed.is_empty() { String::new() } else { format!("TLSOptions {}\n", relaxed.join(" ")) };
    format!(
        "# of the package proftpd-mod-crypto
LoadModule mod_tls.c
TLSEngine on
TLSRequired on
TLSProtocol {protocols}
TLSVerifyClient off
TLSECCertificateFile {certificate}
TLSECCertificateKeyFile {key}
TLSLog {directory}/tls.log
{tls_options}",
        protocols = if options.tls12_only { "TLSv1.2" } else { "TLSv1.2 TLSv1.3" },
        certificate = place.path("certificate.pem").display(),
        key = place.path("key.pem").display(),
        directory = place.directory.display(),
    )
}

fn pure_ftpd(options: &Options, place: &Place) -> Vec<String> {
    let root = place.path("root");
    // `/./` ends the part of the path that the user is locked into
    let users = place
        .write("users", &format!("{USER}:{HASH}:{NOBODY}:{NOBODY}::{}/./::::::::::::\n", root.display()));
    let database = place.path("users.pdb");
    let made = Command::new(place.servers.join("pure-ftpd/usr/bin/pure-pw"))
        .env("LD_LIBRARY_PATH", place.servers.join("lib"))
        .arg("mkdb")
        .arg(&database)
        .arg("-f")
        .arg(users)
        .status()
        .expect("pure-pw started");
    assert!(made.success(), "pure-pw cannot make a user database: {made}");
    let mut arguments = vec![
        "--bind".to_owned(),
        format!("127.0.0.1,{}", place.port),
        "--login".to_owned(),
        format!("puredb:{}", database.display()),
        "--noanonymous".to_owned(),
        "--chrooteveryone".to_owned(),
        "--dontresolve".to_owned(),
        "--ipv4only".to_owned(),
        "--pidfile".to_owned(),
        place.path("pid").display().to_string(),
        // entries of a listing, and how deep a recursive one goes; by itself it stops at 10,000 without a fault
        "--limitrecursion".to_owned(),
        format!("{}:64", options.listing_limit.unwrap_or(1_000_000)),
        "--maxclientsnumber".to_owned(),
        options.max_clients.unwrap_or(100).to_string(),
    ];
    if options.tls == Tls::Explicit {
        // 3: neither the login nor data without TLS
        arguments.extend(["--tls".to_owned(), "3".to_owned()]);
        arguments.extend(["--certfile".to_owned(), place.path("both.pem").display().to_string()]);
    }
    arguments
}
