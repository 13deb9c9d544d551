//! The keys that each server has for itself.

use super::Fallback::{Depends, Is, Required};
use super::Literal::{List, Text};
use super::{Key, Kind, Place, ProtocolName, Secrecy};

const ANY: Key = Key { place: Place::Servers, ..Key::USUAL };
const SFTP: Key = Key { protocol: Some(ProtocolName::Sftp), ..ANY };

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "name",
        default: Required,
        example: Some("\"omc01\""),
        help: "Its directory in the mirror: unique, at most 255 bytes, without a slash, not starting with a dot, without \
               blanks at its ends and invisible characters. The records know the server by this name: under a new one, \
               everything is downloaded again.",
        help_zh: "服务器名称，也是镜像中的目录名：不能重复，不超过 255 字节，不能含斜杠和不可见字符，不能以点开头，首尾不能有\
                  空白。下载记录以此名称区分服务器：改名后所有文件都会重新下载。",
        ..ANY
    },
    Key {
        name: "host",
        default: Required,
        example: Some("\"10.0.0.1\""),
        help: "Its name or address, IPv4 or IPv6.",
        help_zh: "主机名或 IPv4、IPv6 地址。",
        ..ANY
    },
    Key {
        name: "port",
        kind: Kind::Whole(1..=u16::MAX),
        default: Depends(
            "`21`; `990` with implicit TLS, `22` with SFTP",
            "`21`；implicit TLS 为 `990`，SFTP 为 `22`",
        ),
        example: Some("21"),
        help: "The port of the control connection, or of SSH.",
        help_zh: "控制连接的端口；SFTP 为 SSH 的端口。",
        ..ANY
    },
    Key {
        name: "user",
        default: Is(Text("anonymous")),
        example: Some("\"mro\""),
        help: "The user to log in as. Required with SFTP.",
        help_zh: "登录的用户名。SFTP 必填。",
        ..ANY
    },
    Key {
        name: "password_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/omc01.password\""),
        help: "A file that contains the password and nothing else (owner `mrosync`, mode 0600). Its line end and a byte order \
               mark are ignored.",
        help_zh: "密码文件，内容只有密码（属主 `mrosync`，权限 0600）。行尾的换行和文件开头的 BOM 不算在内。",
        ..ANY
    },
    Key {
        name: "password_env",
        example: Some("\"OMC01_PASSWORD\""),
        help: "The environment variable that has the password.",
        help_zh: "存放密码的环境变量名。",
        ..ANY
    },
    Key {
        name: "password",
        default: Depends("`mrosync@`", "`mrosync@`"),
        example: Some("\"…\""),
        secrecy: Secrecy::Secret,
        help: "The password itself; then keep this file from other readers. Only one of the three ways may be used.",
        help_zh: "密码本身；这样写时请不要让其他用户读到配置文件。三种写法只能选一种。",
        ..ANY
    },
    Key {
        name: "directories",
        kind: Kind::Texts,
        default: Is(List(&["/"])),
        help: "Absolute paths; each is mirrored with everything below it. Required with SFTP.",
        help_zh: "要同步的目录（绝对路径），连同其下所有内容。SFTP 必填。",
        ..ANY
    },
    Key {
        name: "host_key",
        kind: Kind::TextOrTexts,
        example: Some("\"SHA256:…\""),
        help: "The server's key, as `\"SHA256:…\"` or `\"ssh-ed25519 AAAA…\"`; a list if it may show several. `mrosync check` \
               shows it: compare it with what the server's operator says.",
        help_zh: "服务器的主机密钥，写作 `\"SHA256:…\"` 或 `\"ssh-ed25519 AAAA…\"`；服务器可能出示多个时写成列表。`mrosync check` \
                  会显示它，请与服务器管理员提供的指纹核对。",
        ..SFTP
    },
    Key {
        name: "private_key_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/omc01.key\""),
        help: "The key to log in with, as OpenSSH, OpenSSL or PuTTY writes it (owner `mrosync`, mode 0600).",
        help_zh: "登录用的私钥，OpenSSH、OpenSSL 或 PuTTY 格式（属主 `mrosync`，权限 0600）。",
        ..SFTP
    },
    Key {
        name: "passphrase_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/omc01.phrase\""),
        help: "A file that contains the passphrase of that key.",
        help_zh: "存放该私钥口令的文件。",
        ..SFTP
    },
    Key {
        name: "passphrase_env",
        example: Some("\"OMC01_PASSPHRASE\""),
        help: "The environment variable that has it.",
        help_zh: "存放口令的环境变量名。",
        ..SFTP
    },
    Key {
        name: "passphrase",
        example: Some("\"…\""),
        secrecy: Secrecy::Secret,
        help: "The passphrase itself.",
        help_zh: "口令本身。",
        ..SFTP
    },
];
