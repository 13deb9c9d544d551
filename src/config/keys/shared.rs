//! The keys of `[defaults]`, each of which a server may say for itself.

use std::time::Duration;

use super::Fallback::{Depends, Is};
use super::Literal::{Flag, List, Number, Text};
use super::{Key, Kind, Place, ProtocolName, Secrecy};

const ANY: Key = Key { place: Place::Defaults, ..Key::USUAL };
const FTP: Key = Key { protocol: Some(ProtocolName::Ftp), ..ANY };
const SFTP: Key = Key { protocol: Some(ProtocolName::Sftp), ..ANY };

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "protocol",
        kind: Kind::Word(&["ftp", "sftp"]),
        default: Is(Text("ftp")),
        help: "The protocol that the server speaks.",
        help_zh: "服务器使用的协议。",
        ..ANY
    },
    Key {
        name: "connections",
        kind: Kind::Whole(1..=64),
        default: Is(Number(4)),
        help: "Maximum number of logins to one server at a time, for listing and transfers together. They are kept \
               between scans. Fewer are used if the server grants fewer.",
        help_zh: "对一台服务器同时登录的最多连接数，列目录和传输合计。两次扫描之间保持登录。服务器只允许更少时，\
                  自动少用。",
        ..ANY
    },
    Key {
        name: "timeout",
        kind: Kind::Time(Duration::from_millis(100)..=Duration::from_hours(1)),
        default: Is(Text("30s")),
        help: "An operation fails if no data arrives for this long. A login or a reply must be complete within it.",
        help_zh: "超过这个时间没有收到任何数据，操作即告失败。登录过程和每个应答都须在此时间内完成。",
        ..ANY
    },
    Key {
        name: "min_speed",
        kind: Kind::Size { or_zero: true },
        default: Is(Text("100B")),
        help: "Minimum speed of a transfer or listing in bytes per second, averaged over twice `timeout`. What is slower is \
               aborted and resumed later, at growing intervals; `0` is no limit.",
        help_zh: "传输和列目录的最低速度（字节每秒），按两倍 `timeout` 的时间取平均。低于此值即放弃，之后按递增的间隔续传；\
                  `0` 表示不限。",
        ..ANY
    },
    Key {
        name: "tls",
        kind: Kind::Word(&["off", "explicit", "implicit"]),
        default: Is(Text("off")),
        help: "Encryption: none, `explicit` (AUTH TLS on the usual port) or `implicit` (TLS from the first byte).",
        help_zh: "加密方式：不加密、`explicit`（在普通端口上用 AUTH TLS）或 `implicit`（一开始就使用 TLS）。",
        ..FTP
    },
    Key {
        name: "tls_ca_file",
        kind: Kind::Path,
        default: Depends("the system's roots", "系统根证书"),
        example: Some("\"/etc/mrosync/ca.pem\""),
        help: "A PEM file with the certificates to trust instead of the system's: authorities, or the server's own.",
        help_zh: "PEM 文件，改为信任其中的证书：可以是 CA 证书，也可以是服务器自己的证书。",
        ..FTP
    },
    Key {
        name: "encoding",
        kind: Kind::Form("label of an encoding", "编码名"),
        default: Is(Text("utf-8")),
        help: "The encoding of file names on the wire, with FTP also of user and password: `utf-8`, `gbk`, `gb18030`, \
               `latin1` or another label of the [WHATWG Encoding Standard](https://encoding.spec.whatwg.org/#names-and-labels) \
               that leaves ASCII unchanged.",
        help_zh: "服务器上文件名的编码（FTP 的用户名和密码也按它发送）：`utf-8`、`gbk`、`gb18030`、`latin1`，或 \
                  [WHATWG 编码标准](https://encoding.spec.whatwg.org/#names-and-labels)中其他与 ASCII 兼容的编码名。",
        ..ANY
    },
    Key {
        name: "listing",
        kind: Kind::Word(&["auto", "mlsd", "list"]),
        default: Is(Text("auto")),
        help: "The command that lists a directory. `auto` is MLSD if the server offers it and it shows everything, otherwise \
               LIST. How the directory is given to it, and whether `TYPE A` is needed, is determined automatically; \
               `check` and `status --json` (`listing`) show it.",
        help_zh: "列目录用的命令。`auto`：服务器支持 MLSD 且列得全就用 MLSD，否则用 LIST。路径随命令给出还是先进入目录，\
                  以及是否需要 `TYPE A`，由程序自行判断；结果可在 `check` 和 `status --json` 的 `listing` 中看到。",
        ..FTP
    },
    Key {
        name: "verify",
        kind: Kind::Word(&["auto", "size", "zip"]),
        default: Is(Text("auto")),
        help: "When a received file counts as complete. `auto`: its checksums prove it a whole zip archive or gzip file; a file \
               of another name has the size shown and stands still for two scans; what is named `.zip` or `.gz` and is \
               neither stays the same for 15 minutes. `size`: it has the size shown. `zip`: only a proven archive.",
        help_zh: "收到的文件怎样才算完整。`auto`：校验和证明它是完整的 zip 或 gzip；其他名称的文件须大小相符，且两次扫描之间没有变化；\
                  名为 `.zip` 或 `.gz` 而内容不是的，须 15 分钟内没有变化。`size`：大小相符。`zip`：只接受已证明完整的 zip。",
        ..ANY
    },
    Key {
        name: "mode",
        kind: Kind::Word(&["passive", "active"]),
        default: Is(Text("passive")),
        help: "Who opens the data connections: the service (`passive`), or the server (`active`, by PORT or EPRT; the \
               firewall must let it in). `active` cannot be combined with `proxy`.",
        help_zh: "数据连接由谁发起：本服务（`passive`），或服务器（`active`，使用 PORT 或 EPRT，防火墙须放行）。\
                  `active` 不能与 `proxy` 同时使用。",
        ..FTP
    },
    Key {
        name: "active_ports",
        kind: Kind::Form("port range, 1024 and up", "端口范围，1024 及以上"),
        default: Depends("the system's choice", "由系统选择"),
        example: Some("\"50000-50100\""),
        help: "Where to listen in active mode: as many ports as there may be connections, and a few more. Ports in use are \
               skipped.",
        help_zh: "主动模式下监听的端口；端口数应不少于可能的连接数，并略有富余。已被占用的端口自动跳过。",
        ..FTP
    },
    Key {
        name: "active_address",
        kind: Kind::Form("IP address", "IP 地址"),
        default: Depends("that of the control connection", "控制连接的本地地址"),
        example: Some("\"203.0.113.7\""),
        help: "The address sent to the server in active mode, for a host behind NAT.",
        help_zh: "主动模式下告诉服务器的地址，用于本机位于 NAT 之后的情形。",
        ..FTP
    },
    Key {
        name: "passive",
        kind: Kind::Word(&["auto", "pasv", "epsv"]),
        default: Is(Text("auto")),
        help: "How a port is requested in passive mode. `auto` is PASV first on IPv4, EPSV first on IPv6, and the other one \
               if that is refused.",
        help_zh: "被动模式下用哪个命令请求端口。`auto`：IPv4 先用 PASV，IPv6 先用 EPSV，被拒绝时换另一个。",
        ..FTP
    },
    Key {
        name: "windows",
        kind: Kind::Texts,
        default: Is(List(&[])),
        help: "When the server may be connected to, in the local time of this machine, such as `[\"22:00-06:00\"]` or \
               `[\"Mon-Fri 22:00-06:00\", \"Sat,Sun 00:00-24:00\"]`; always when empty. A window that passes midnight belongs \
               to the day on which it begins. At its end the connections are closed, and partial files are resumed in the \
               next one.",
        help_zh: "允许连接服务器的时段，按本机的当地时间，例如 `[\"22:00-06:00\"]` 或 \
                  `[\"Mon-Fri 22:00-06:00\", \"Sat,Sun 00:00-24:00\"]`；空表示随时可以连接。跨越午夜的时段算在开始的那一天。\
                  时段结束时断开所有连接，未传完的文件在下一个时段续传。",
        ..ANY
    },
    Key {
        name: "max_rate",
        kind: Kind::Rate,
        default: Is(Number(0)),
        example: Some("\"10MB/s\""),
        help: "Bandwidth of the server, shared by its connections; `0` is no limit.",
        help_zh: "单台服务器的带宽上限，由它的各个连接共享；`0` 表示不限。",
        ..ANY
    },
    Key {
        name: "tls_min",
        kind: Kind::Word(&["1.2", "1.3"]),
        default: Is(Text("1.2")),
        help: "The oldest version of TLS that is accepted.",
        help_zh: "允许的最低 TLS 版本。",
        ..FTP
    },
    Key {
        name: "tls_max",
        kind: Kind::Word(&["1.2", "1.3"]),
        default: Is(Text("1.3")),
        help: "The newest version of TLS that is offered. Some servers require a resumed session on data connections and \
               cannot resume one of TLS 1.3; those need `\"1.2\"`.",
        help_zh: "允许的最高 TLS 版本。有的服务器要求数据连接恢复会话，却不能恢复 TLS 1.3 的会话，这时请设为 `\"1.2\"`。",
        ..FTP
    },
    Key {
        name: "proxy",
        kind: Kind::Form("`off`, or URL", "`off` 或 URL"),
        default: Is(Text("off")),
        example: Some("\"socks5://10.0.0.9:1080\""),
        secrecy: Secrecy::InUrl,
        help: "A SOCKS5 proxy for all connections to the server: `socks5://[user:password@]host[:port]`, or `socks5h://…` \
               for one that resolves the server's name itself.",
        help_zh: "到服务器的所有连接都经过的 SOCKS5 代理：`socks5://[用户名:密码@]主机[:端口]`；写成 `socks5h://…` 时由代理解析\
                  服务器的主机名。",
        ..ANY
    },
    Key {
        name: "known_hosts_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/known_hosts\""),
        help: "The keys of servers, as OpenSSH writes them. Read again for each login; see `host_key`.",
        help_zh: "服务器主机密钥文件，格式与 OpenSSH 相同。每次登录都重新读取；参见 `host_key`。",
        ..SFTP
    },
    Key {
        name: "old_algorithms",
        kind: Kind::Flag,
        default: Is(Flag(false)),
        help: "Whether old servers may use algorithms that are weak today: SHA-1, AES-CBC and HMAC-SHA1.",
        help_zh: "是否允许与旧服务器协商如今已不安全的算法：SHA-1、AES-CBC 和 HMAC-SHA1。",
        ..SFTP
    },
    Key {
        name: "files",
        kind: Kind::Texts,
        default: Is(List(&["*.zip"])),
        example: Some("[\"*.zip\", \"*.gz\", \"*.xml\"]"),
        help: "Which files are fetched: [globs](#values) over names (not paths, so without a slash), upper and lower case alike. \
               Give a server that has many old files of a new pattern `since = \"now\"`; see \
               [other files than zips](how-to.md#how-do-i-fetch-other-files-than-zips).",
        help_zh: "下载哪些文件：针对文件名（不是路径，所以不含斜杠）的[通配符](#值的写法)，不区分大小写。服务器上若已有许多符合新通配符的旧文件，\
                  请同时设 `since = \"now\"`；参见[下载 zip 以外的文件](how-to.zh-CN.md#怎样下载-zip-以外的文件)。",
        ..ANY
    },
    Key {
        name: "since",
        kind: Kind::Form("time, or `now`", "时间，或 `now`"),
        example: Some("\"2026-11-01T00:00\""),
        help: "Files that the server shows as surely older are skipped; those without a time are taken. A time is in UTC \
               unless it has an offset. `now` is the first start with this setting, which the records remember. LIST shows \
               the server's local time, which is read as if it were UTC.",
        help_zh: "服务器显示的时间确实早于此时间的文件一律跳过，没有时间的照常下载。不带时区偏移的时间按 UTC。`now` 表示首次以此\
                  设置启动的时刻，记录在下载记录库中。LIST 显示的是服务器当地时间，这里当作 UTC 比较。",
        ..ANY
    },
    Key {
        name: "include",
        kind: Kind::Texts,
        default: Is(List(&[])),
        example: Some("[\"LTE_*.zip\"]"),
        help: "[Globs](#values) over remote paths. If there are any, only files that match one of them are taken.",
        help_zh: "针对远程路径的[通配符](#值的写法)。只要列出，就只下载匹配其中之一的文件。",
        ..ANY
    },
    Key {
        name: "exclude",
        kind: Kind::Texts,
        default: Is(List(&[])),
        example: Some("[\"/old/**\"]"),
        help: "[Globs](#values). A file that matches one of them is not taken; a directory that matches (as a whole with \
               `/old/**`) is neither listed nor created.",
        help_zh: "[通配符](#值的写法)。匹配的文件不下载；匹配的目录（`/old/**` 匹配整个目录）既不列出也不创建。",
        ..ANY
    },
    Key {
        name: "order",
        kind: Kind::Word(&["listed", "oldest-first", "newest-first"]),
        default: Is(Text("listed")),
        help: "Which new file is fetched next: as they are found, or by the server's time among those that wait.",
        help_zh: "新文件的下载顺序：按发现的先后，或者在等待下载的文件中按服务器时间。",
        ..ANY
    },
];
