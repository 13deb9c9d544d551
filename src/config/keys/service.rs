//! The keys of the service itself: all sections but `[defaults]` and `[[servers]]`.

use std::time::Duration;

use super::Fallback::Is;
use super::Literal::{List, Number, Text};
use super::{Key, Kind, Place, Secrecy};

const SYNC: Key = Key { place: Place::Sync, ..Key::USUAL };
const QUOTA: Key = Key { place: Place::Quota, ..Key::USUAL };
const NOTIFY: Key = Key { place: Place::Notify, ..Key::USUAL };
const RECORDS: Key = Key { place: Place::Records, ..Key::USUAL };
const CONTROL: Key = Key { place: Place::Control, ..Key::USUAL };
const WEB: Key = Key { place: Place::Web, ..Key::USUAL };
const LOG: Key = Key { place: Place::Log, ..Key::USUAL };

pub(super) static KEYS: &[Key] = &[
    Key {
        name: "root",
        kind: Kind::Path,
        default: Is(Text("/sync")),
        needs_restart: true,
        help: "The mirror. A file `/a/b.zip` of the server `omc01` is stored as `{root}/omc01/a/b.zip`.",
        help_zh: "镜像根目录。服务器 `omc01` 上的文件 `/a/b.zip` 存为 `{root}/omc01/a/b.zip`。",
        ..SYNC
    },
    Key {
        name: "interval",
        kind: Kind::Time(Duration::from_millis(100)..=Duration::from_hours(7 * 24)),
        default: Is(Text("60s")),
        help: "Time from the start of one scan of a server to the start of the next. A scan that takes longer is \
               followed by the next at once.",
        help_zh: "同一台服务器两次扫描开始时刻的间隔。一次扫描超过间隔时，下一次紧接着开始。",
        ..SYNC
    },
    Key {
        name: "quiet_directories",
        kind: Kind::Time(Duration::from_millis(100)..=Duration::from_hours(7 * 24)),
        example: Some("\"10m\""),
        help: "How often to list a directory in which ten scans in a row found nothing new. This spares servers with \
               thousands of old directories; a zip that does appear in one of them is found that much later. \
               Directories that contain others are listed in every scan, and without this key so is every directory.",
        help_zh: "连续十次扫描都没有变化的目录，多久列一次。服务器上有成千上万个旧目录时可减轻其负担；代价是这些目录里\
                  若出现新的 zip，会晚这么久才被发现。含有子目录的目录每次扫描都会列出；不设置时，每次扫描列出所有目录。",
        ..SYNC
    },
    Key {
        name: "max_rate",
        kind: Kind::Rate,
        default: Is(Number(0)),
        example: Some("\"50MB/s\""),
        help: "Bandwidth of all servers together; `0` is no limit.",
        help_zh: "所有服务器合计的带宽上限；`0` 表示不限。",
        ..SYNC
    },
    Key {
        name: "max_used_percent",
        kind: Kind::Percent,
        default: Is(Number(60)),
        help: "How full the file system of the mirror may be, in percent as `df` counts it: used / (used + available). \
               Above it, the zips that were downloaded first are deleted.",
        help_zh: "镜像所在文件系统的占用上限（百分比），算法与 `df` 相同：已用 /（已用 + 可用）。超过后删除最早下载的 zip。",
        ..QUOTA
    },
    Key {
        name: "max_bytes",
        kind: Kind::Size { or_zero: false },
        example: Some("\"500GiB\""),
        help: "How large the mirror itself may be, partial files included. Whichever of the two limits is reached first \
               applies.",
        help_zh: "镜像自身的大小上限，包括未完成的文件。两个上限以先到者为准。",
        ..QUOTA
    },
    Key {
        name: "url",
        kind: Kind::Form("`http` or `https` URL", "`http` 或 `https` URL"),
        default: Is(Text("http://mro.web.com/dls.php")),
        help: "Called once for each downloaded zip, as `{url}?file=/{server name}{remote path}`, percent-encoded. A query \
               of its own is kept.",
        help_zh: "每下载一个 zip 访问一次的地址：`{url}?file=/{服务器名称}{远程路径}`（经百分号编码）。地址自带的查询参数会保留。",
        ..NOTIFY
    },
    Key {
        name: "timeout",
        kind: Kind::Time(Duration::from_nanos(1)..=Duration::from_hours(1)),
        default: Is(Text("10s")),
        help: "Time limit of one call. The head of the answer must arrive within it; the rest is read until then. A call \
               that fails is repeated later.",
        help_zh: "单次通知的时限。必须在此时间内收到响应头；其余内容最多读到此时为止。失败的通知以后重试。",
        ..NOTIFY
    },
    Key {
        name: "concurrency",
        kind: Kind::AutoOrWhole(1..=256),
        default: Is(Text("auto")),
        help: "Calls in progress at a time. `auto` starts with 4 and goes up to 32 while files wait and the host answers \
               no slower for it; a number is the maximum.",
        help_zh: "同时进行的通知数。`auto` 从 4 开始，有文件等待且通知主机没有因此变慢时逐步增加，最多 32；写数字则以它为上限。",
        ..NOTIFY
    },
    Key {
        name: "method",
        kind: Kind::Word(&["GET", "POST", "PUT", "PATCH"]),
        default: Is(Text("GET")),
        help: "The HTTP method. The request has no body.",
        help_zh: "HTTP 方法。请求体为空。",
        ..NOTIFY
    },
    Key {
        name: "headers",
        kind: Kind::Headers,
        example: Some("{ Authorization = { file = \"/etc/mrosync/notify.token\" } }"),
        secrecy: Secrecy::Secret,
        help: "Headers to send with each call, 32 at most. A value is a string, `{ file = \"…\" }` or `{ env = \"…\" }`; the \
               latter two keep it out of this file. Values are never shown.",
        help_zh: "随每次通知发送的头部，最多 32 个。值可以是字符串，也可以是 `{ file = \"…\" }`（取自文件）或 `{ env = \"…\" }`\
                  （取自环境变量），后两种写法不会让值出现在配置文件里。任何情况下都不显示这些值。",
        ..NOTIFY
    },
    Key {
        name: "path",
        kind: Kind::Path,
        default: Is(Text("/var/lib/mrosync/records.db")),
        needs_restart: true,
        help: "The SQLite database of the download records, created when missing. Without it everything is downloaded \
               again: back it up.",
        help_zh: "下载记录的 SQLite 数据库，不存在时自动创建。没有它，所有文件都会重新下载，请做好备份。",
        ..RECORDS
    },
    Key {
        name: "url",
        kind: Kind::Form("`postgres` URL", "`postgres` URL"),
        example: Some("\"postgres://mrosync@pg1,pg2/mrosync\""),
        needs_restart: true,
        help: "A PostgreSQL database (15 or later) for the records, in place of `path`, which must not be given beside it. \
               Of several hosts the first that takes writes is used. Hosts other than this one are reached with TLS, and \
               their certificates are verified; `?sslmode=disable` and `?sslmode=verify-full` decide it for all. A Unix \
               socket: `postgres://mrosync@/mrosync?host=/var/run/postgresql`. A password in it is refused.",
        help_zh: "存放下载记录的 PostgreSQL 数据库（15 或更高版本），用它代替 `path`，两者不能同时设置。写了多台主机时，使用其中\
                  第一台可写的。连接本机以外的主机一律使用 TLS 并校验证书；`?sslmode=disable` 或 `?sslmode=verify-full` 可对\
                  所有主机统一指定。Unix 套接字写作 `postgres://mrosync@/mrosync?host=/var/run/postgresql`。URL 中不允许带密码。",
        ..RECORDS
    },
    Key {
        name: "password_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/records.password\""),
        needs_restart: true,
        help: "A file with the password for `url` (owner `mrosync`, mode 0600).",
        help_zh: "存放 `url` 所用密码的文件（属主 `mrosync`，权限 0600）。",
        ..RECORDS
    },
    Key {
        name: "password_env",
        kind: Kind::Text,
        example: Some("\"MROSYNC_RECORDS_PASSWORD\""),
        needs_restart: true,
        help: "Instead of it, an environment variable with the password for `url`.",
        help_zh: "或者，存放 `url` 所用密码的环境变量名。",
        ..RECORDS
    },
    Key {
        name: "tls_ca_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/postgres-ca.pem\""),
        needs_restart: true,
        help: "PEM file of the authorities that may sign the database's certificate, or of that certificate itself; the \
               system's roots when left out.",
        help_zh: "PEM 文件：可为数据库证书签名的 CA，或该证书本身；不设置时使用系统的根证书。",
        ..RECORDS
    },
    Key {
        name: "socket",
        kind: Kind::Path,
        default: Is(Text("/run/mrosync/control.sock")),
        needs_restart: true,
        help: "The Unix socket of `mrosync ctl`, for its owner alone; at most 107 bytes. Its directory must belong to that \
               user or to root, and must not be writable by everybody (`/tmp` is accepted).",
        help_zh: "`mrosync ctl` 使用的 Unix 套接字，仅限其所有者使用；路径不超过 107 字节。所在目录必须属于该用户或 root，\
                  且不能是任何人都可写的（`/tmp` 这类带粘滞位的目录可以）。",
        ..CONTROL
    },
    Key {
        name: "listen",
        kind: Kind::Form("address and port", "地址和端口"),
        example: Some("\"127.0.0.1:8321\""),
        help: "Where the status page listens; without it there is no page. An address that others can reach requires \
               `token_file`.",
        help_zh: "状态页监听的地址和端口；不设置则不开启。别的机器能访问的地址必须同时设置 `token_file`。",
        ..WEB
    },
    Key {
        name: "token_file",
        kind: Kind::Path,
        example: Some("\"/etc/mrosync/web.token\""),
        help: "A file with one word of 16 characters or more (owner `mrosync`, mode 0600). Whoever has it may start and \
               stop the service; without it the page shows everything and changes nothing.",
        help_zh: "令牌文件，内容是一个不少于 16 个字符的单词（属主 `mrosync`，权限 0600）。知道令牌的人可以启动和停止扫描；\
                  没有令牌时，页面只能查看，不能操作。",
        ..WEB
    },
    Key {
        name: "hosts",
        kind: Kind::Texts,
        default: Is(List(&[])),
        example: Some("[\"omc-collector.example\"]"),
        help: "Names of this host by which the page is opened, besides `localhost` and addresses.",
        help_zh: "除 `localhost` 和 IP 地址外，访问页面所用的主机名。",
        ..WEB
    },
    Key {
        name: "level",
        kind: Kind::Word(&["off", "error", "warn", "info", "debug", "trace"]),
        default: Is(Text("info")),
        help: "The most detailed level that is logged.",
        help_zh: "记录到哪一级为止。",
        ..LOG
    },
    Key {
        name: "format",
        kind: Kind::Word(&["text", "json"]),
        default: Is(Text("text")),
        help: "The form of a line, on standard error and in the file. `json` is one object a line.",
        help_zh: "日志行的格式，标准错误和日志文件相同。`json` 为每行一个 JSON 对象。",
        ..LOG
    },
    Key {
        name: "file",
        kind: Kind::Path,
        example: Some("\"/var/log/mrosync/mrosync.log\""),
        is_shipped: true,
        help: "A file that the log is appended to, besides standard error. A `reload` opens it again, for logrotate.",
        help_zh: "除标准错误外，日志还追加写入此文件。`reload` 时重新打开，便于 logrotate 轮转。",
        ..LOG
    },
];
