//! Arguments, configuration files, variables and secrets, as operators give them to the real program.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::notify::NotifyStub;
use crate::support::scripted::{File, Rule, ScriptedServer};
use crate::support::service::{Server, Service, Setup, Stream};
use crate::support::steps::{SOON, one, ready, recorded};
use crate::support::wait::output_within;
use crate::support::zips::zip;

/// A server that nothing will ever ask.
fn nobody(name: &str) -> Server {
    Server::at(name, "127.0.0.1:1".parse().unwrap())
}

/// Runs to the end, which must be its own: an unusable start ends at once.
fn output(command: &mut Command) -> Output {
    output_within(SOON, command)
}

/// Asserts exit status 2 and gives back what standard error says.
#[track_caller]
fn unusable(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(service: &Service) -> Vec<String> {
    let status = service.status();
    let servers = status["servers"].as_array().unwrap().iter();
    servers.map(|server| server["name"].as_str().unwrap().to_owned()).collect()
}

// -- arguments -----------------------------------------------------------------------------------------------

/// interface 1.1
#[test]
fn without_a_subcommand_the_service_runs() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let setup = one(&ftp);
    let mut child = setup.command(&["--start"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let file = setup.directory().join("sync/omc01/1.zip");
    let came = crate::support::wait::try_obtain(SOON, || file.is_file().then_some(()));
    let status = setup.command(&["ctl", "status", "--json"]).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(came.is_some());
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"running\":true"), "{status:?}");
}

/// interface 1.14, 14.8
#[test]
fn unusable_arguments_end_with_2_and_say_why() {
    let setup = Setup::new().server(nobody("omc01"));
    for arguments in [
        &["walk"][..],
        &["--nonsense"],
        &["run", "--nonsense"],
        &["ctl"],
        &["ctl", "pause"],
        &["ctl", "start", "--json"],
        &["records", "--format", "xml"],
        &["records", "--server"],
        &["check", "--start"],
        &["run", "more"],
    ] {
        let said = unusable(&output(&mut setup.command(arguments)));
        assert!(!said.is_empty(), "{arguments:?}");
    }
}

/// interface 1.14
#[test]
fn help_and_version_end_with_0_and_need_no_configuration() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &["ctl", "--help"]] {
        let output = output(Command::new(env!("CARGO_BIN_EXE_mrosync")).args(arguments));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!output.stdout.is_empty(), "{output:?}");
    }
}

// -- faults --------------------------------------------------------------------------------------------------

/// At least one fault of every kind.
const FAULTY: &str = "nonsense = 1
[sync]
root = 7
interval = '10ms'
intervall = '60s'
[quota]
max_used_percent = 101
max_bytes = 'many'
[notify]
url = 'ftp://mro.web.com/'
timeout = 'soon'
concurrency = 0
[records]
file = 'x'
[control]
socket = ''
[log]
level = 'loud'
[defaults]
connections = 0
tls = 'maybe'
encoding = 'klingon'
[watch]
dog = true
[[servers]]
name = '.hidden'
host = 'h'
[[servers]]
name = 'omc02'
host = ''
port = 70000
passwort = 'x'
directories = ['a/../b']
[[servers]]
name = 'omc02'
host = 'h'
password = 'a'
password_env = 'b'
verify = 'perhaps'
";

/// What its faults begin with.
const FAULTY_KEYS: [&str; 24] = [
    "nonsense",
    "sync.root",
    "sync.interval",
    "sync.intervall",
    "quota.max_used_percent",
    "quota.max_bytes",
    "notify.url",
    "notify.timeout",
    "notify.concurrency",
    "records.file",
    "control.socket",
    "log.level",
    "defaults.connections",
    "defaults.tls",
    "defaults.encoding",
    "watch",
    "servers[0].name",
    "servers[1] (omc02).host",
    "servers[1] (omc02).port",
    "servers[1] (omc02).passwort",
    "servers[1] (omc02).directories",
    "servers[2] (omc02).name",
    "servers[2] (omc02).password",
    "servers[2] (omc02).verify",
];

/// interface 1.14, 5.10
#[test]
fn all_faults_are_named_at_once_with_their_keys_by_every_command() {
    let setup = Setup::new().toml(FAULTY);
    for command in [&["run"][..], &["check"], &["ctl", "status"], &["records"]] {
        let said = unusable(&output(&mut setup.command(command)));
        for key in FAULTY_KEYS {
            let named = said.lines().any(|line| line.starts_with(&format!("mrosync: {key}: ")));
            assert!(named, "{key} is not named: {said}");
        }
    }
    assert!(!setup.directory().join("records.db").is_file(), "nothing was begun");
}

#[test]
fn a_missing_or_broken_file_ends_with_2_and_is_named_with_all_others() {
    let setup = Setup::new().server(nobody("omc01")).toml("[sync\nroot = ");
    let missing = setup.directory().join("missing.toml");
    let mut command = setup.command(&["run", "--start"]);
    let said = unusable(&output(command.arg("--config").arg(&missing)));
    assert!(said.contains("missing.toml") && said.contains("1.toml"), "{said}");
}

#[test]
fn a_configuration_without_servers_is_unusable() {
    let said = unusable(&output(&mut Setup::new().command(&["run"])));
    assert!(said.contains("servers"), "{said}");
}

// -- more than one source ------------------------------------------------------------------------------------

/// interface 1.13
#[test]
fn a_later_file_overrides_key_by_key_and_its_servers_replace_the_earlier_ones() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let later = Server::scripted("late", &ftp).toml();
    let setup = Setup::new().server(nobody("early-1")).server(nobody("early-2"));
    let service = setup.toml("[quota]\nmax_used_percent = 98").toml(&later).interval("150ms").started().run();
    recorded(&service, 1);
    assert_eq!(names(&service), ["late"]);
    assert_eq!(service.status()["disk"]["max_used_percent"], 98.0);
    // root, records and socket are those of the first file still, or nothing of this would be seen
    assert_eq!(service.mirrored().into_keys().collect::<Vec<_>>(), ["late/1.zip"]);
}

/// interface 1.13
#[test]
fn variables_override_all_files() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let setup = one(&ftp).toml("[quota]\nmax_used_percent = 98");
    let elsewhere = setup.directory().join("elsewhere");
    let setup = setup
        .env("MROSYNC_SYNC__ROOT", elsewhere.to_str().unwrap())
        .env("MROSYNC_QUOTA__MAX_USED_PERCENT", "97.5")
        .env("MROSYNC_SYNC__INTERVAL", "150ms")
        .env("MROSYNC_DEFAULTS__CONNECTIONS", "2");
    let service = setup.started().run();
    recorded(&service, 1);
    assert!(elsewhere.join("omc01/1.zip").is_file());
    assert!(service.mirrored().is_empty());
    assert_eq!(service.status()["disk"]["max_used_percent"], 97.5);
}

/// interface 1.13
#[test]
fn faults_of_variables_are_named_and_names_without_two_underscores_are_not_ours() {
    let ours = Setup::new()
        .server(nobody("omc01"))
        .env("MROSYNC_SYNC__NONSENSE", "1")
        .env("MROSYNC_SYNC__INTERVAL", "never")
        .env("MROSYNC_NONSENSE__KEY", "1");
    let said = unusable(&output(&mut ours.command(&["run"]))).to_lowercase();
    for key in ["sync.nonsense", "sync.interval", "nonsense"] {
        assert!(said.lines().any(|line| line.starts_with(&format!("mrosync: {key}"))), "{key}: {said}");
    }
    let others = Setup::new()
        .server(nobody("omc01"))
        .env("MROSYNC_HOME", "/nowhere")
        .env("MROSYNC_SYNC_ROOT", "7")
        .env("MROSYNC_SYNC", "x")
        .env("MROSYNC_", "x")
        .env("OTHER_SYNC__NONSENSE", "x");
    let service = others.run();
    ready(&service);
    assert!(service.root().join(".partial").is_dir(), "the root is that of the file");
}

/// interface 5.9
#[test]
fn any_number_of_servers_works() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let all: Vec<String> = (0..40).map(|n| format!("omc{n:02}")).collect();
    let server = |name: &String| Server::scripted(name, &ftp).key("connections", "1");
    let setup = all.iter().fold(Setup::new(), |setup, name| setup.server(server(name)));
    let service = setup.interval("2s").started().run();
    recorded(&service, all.len());
    assert_eq!(names(&service), all);
    let files: Vec<String> = service.mirrored().into_keys().collect();
    assert_eq!(files, all.iter().map(|name| format!("{name}/1.zip")).collect::<Vec<_>>());
}

// -- one service for each thing ------------------------------------------------------------------------------

#[test]
fn a_second_service_on_the_same_root_database_or_socket_is_refused_with_2() {
    let ftp = ScriptedServer::start();
    let first = one(&ftp).run();
    ready(&first);
    let shared =
        [("sync", "root", "sync"), ("records", "path", "records.db"), ("control", "socket", "control.sock")];
    for (section, key, name) in shared {
        // all else is its own
        let path = first.directory().join(name).display().to_string();
        let toml = format!("[{section}]\n{key} = '{path}'");
        let second = Setup::new().server(nobody("omc02")).toml(&toml);
        let said = unusable(&output(&mut second.command(&["run", "--start"])));
        assert!(said.contains(&path), "{name}: {said}");
        assert!(first.status()["running"] == false, "the first goes on");
    }
    let again = Setup::new().server(nobody("omc02")).run();
    ready(&again);
}

// -- passwords -----------------------------------------------------------------------------------------------

/// An entry of `[[servers]]` that says its password by the key `way`.
fn with_password(name: &str, ftp: &ScriptedServer, way: &str, value: &str) -> String {
    let port = ftp.port();
    format!(
        "\n[[servers]]\nname = '{name}'\nhost = '127.0.0.1'\nport = {port}\nuser = 'mro'\n{way} = {value}\n"
    )
}

/// Everything that the program shows, by every way it has.
fn shown(service: &mut Service, log: &Path) -> String {
    service.send("status");
    service.send("help");
    let mut shown = Vec::new();
    for command in [&["check"][..], &["ctl", "status"], &["ctl", "status", "--json"], &["records"]] {
        let output = service.mrosync(command, &[]);
        shown.push(String::from_utf8_lossy(&output.stdout).into_owned());
        shown.push(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    assert!(service.command("stop").starts_with("ok"));
    assert_eq!(service.terminate(SOON).code(), Some(0));
    shown.extend(service.lines(Stream::Stdout));
    shown.extend(service.lines(Stream::Stderr));
    shown.push(std::fs::read_to_string(log).unwrap());
    shown.join("\n")
}

/// A service at level trace, with servers that take their passwords from all three places, right and wrong ones.
struct Secrets {
    _servers: Vec<ScriptedServer>,
    _notify: NotifyStub,
    service: Service,
    log: std::path::PathBuf,
    secrets: Vec<String>,
}

impl Secrets {
    /// The servers are told how to behave by `prepare`.
    fn new(prepare: impl Fn(&ScriptedServer, &str)) -> Self {
        let notify = NotifyStub::start();
        let mut setup = Setup::new().notify(&notify.url());
        let (mut servers, mut secrets, mut toml) = (Vec::new(), Vec::new(), String::new());
        for way in ["password", "password_file", "password_env"] {
            for right in [true, false] {
                let secret = format!("S3cret-{way}-{right}-#%\" x");
                let ftp = ScriptedServer::start();
                ftp.put("/1.zip", File::new(zip(1, 3000)));
                ftp.manner(|manner| {
                    manner.login.1 = if right { secret.clone() } else { "another".to_owned() };
                });
                prepare(&ftp, &secret);
                let value = match way {
                    "password" => format!("'{secret}'"),
                    "password_file" => {
                        let path = setup.directory().join(format!("secret-{right}"));
                        std::fs::write(&path, format!("{secret}\r\n")).unwrap();
                        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                        format!("'{}'", path.display())
                    }
                    _ => {
                        let variable = format!("SECRET_{right}").to_uppercase();
                        setup = setup.env(&variable, &secret);
                        format!("'{variable}'")
                    }
                };
                let name = format!("{way}-{right}");
                toml += &with_password(&name, &ftp, way, &value);
                servers.push(ftp);
                secrets.push(secret);
            }
        }
        let log = setup.directory().join("log");
        let setup = setup.toml(&format!("[log]\nlevel = 'trace'\nfile = '{}'\n{toml}", log.display()));
        Self { _servers: servers, _notify: notify, service: setup.started().run(), log, secrets }
    }

    #[track_caller]
    fn assert_hidden(mut self) -> String {
        let shown = shown(&mut self.service, &self.log);
        for secret in self.secrets.iter().map(String::as_str).chain(["S3cret"]) {
            let line = shown.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in: {line:?}");
        }
        shown
    }
}

/// interface 2.9
#[test]
fn no_password_appears_anywhere_wherever_it_came_from_and_whatever_became_of_it() {
    let secrets = Secrets::new(|_, _| {});
    recorded(&secrets.service, 3);
    secrets.service.wait_for(SOON, "the wrong ones are refused", |service| {
        let status = service.status();
        let refused = |server: &&serde_json::Value| server["state"] == "unreachable";
        status["servers"].as_array().unwrap().iter().filter(refused).count() == 3
    });
    let shown = secrets.assert_hidden();
    assert!(shown.contains("530") && shown.contains("DEBUG"), "it does tell of the refusals, in all detail");
}

/// interface 2.9
#[test]
fn a_server_that_repeats_the_password_does_not_bring_it_into_the_log() {
    let secrets = Secrets::new(|ftp, secret| {
        let reply = format!("530 Login incorrect: 'PASS {secret}' is not known\r\n");
        ftp.rule(Rule::on("PASS").reply(reply));
    });
    ready(&secrets.service);
    secrets.service.wait_for(SOON, "all are refused", |service| {
        let status = service.status();
        let servers = status["servers"].as_array().unwrap();
        servers.iter().all(|server| server["state"] == "unreachable")
    });
    secrets.assert_hidden();
}

#[test]
fn no_password_appears_in_faults_of_the_configuration() {
    let secret = "S3cret";
    let server = "[[servers]]\nname = 'omc01'\nhost = 'h'\nuser = 'mro'\n";
    for fault in [
        format!("password = '{secret}"),
        format!("password = {secret}"),
        format!("password = ['{secret}']"),
        format!("password = {{ a = '{secret}' }}"),
        format!("password = \"{secret}\\n\""),
        format!("pasword = '{secret}'"),
        format!("password = '{secret}'\npassword_env = '{secret}'"),
        format!("password_env = '{secret}'"),
        format!("password_file = '/{secret}'"),
        format!("password = '{secret}'\nport = 0"),
        format!("password = '{secret}'\npassword = '{secret}2'"),
    ] {
        let setup = Setup::new().toml(&format!("{server}{fault}\n"));
        let said = unusable(&output(&mut setup.command(&["run"])));
        assert!(!said.is_empty() && !said.contains(secret), "{fault}: {said}");
    }
}

#[test]
fn a_password_file_that_others_can_read_is_warned_of_and_still_works() {
    let ftp = ScriptedServer::start();
    ftp.put("/1.zip", File::new(zip(1, 3000)));
    let setup = Setup::new();
    let path = setup.directory().join("open.password");
    std::fs::write(&path, "mro-pass\n").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let value = format!("'{}'", path.display());
    let service = setup.toml(&with_password("omc01", &ftp, "password_file", &value)).started().run();
    recorded(&service, 1);
    service.wait_line(Stream::Stderr, SOON, "a warning", |line| {
        line.contains("WARN") && line.contains("open.password")
    });
}

/// interface 5.15
#[test]
fn a_file_may_begin_with_a_byte_order_mark_and_utf_16_is_refused_as_such() {
    let setup = Setup::new().server(nobody("omc01"));
    let file = setup.directory().join("0.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("\u{feff}{text}")).unwrap();
    let asked = output(setup.command(&["ctl"]).arg("status"));
    assert_eq!(asked.status.code(), Some(1), "no service runs: {asked:?}");
    let wide: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&file, wide).unwrap();
    let said = unusable(&output(setup.command(&["ctl"]).arg("status")));
    assert!(said.contains("UTF-16"), "{said}");
}
