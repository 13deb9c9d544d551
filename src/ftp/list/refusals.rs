//! What the words of a refusal mean: that a directory is forbidden, that it is empty, or that it is not there.

use crate::ftp::control::reply::Reply;

/// Words of refusals that are about rights, and so about the directory.
const FORBIDDEN: [&str; 9] = [
    "denied",
    "permission",
    "permitted",
    "not allowed",
    "forbidden",
    "no access",
    "access is",
    "privilege",
    "unauthorized",
];
const CHINESE_FORBIDDEN: [&str; 4] = ["拒绝", "权限", "禁止", "不允许"];

/// Words by which servers refuse to list a directory because there are no files in it: FileZilla Server, DrFTPD, wu-ftpd
/// and others.
const EMPTY: [&str; 11] = [
    "no files",
    "no file found",
    "no matching files",
    "no entries",
    "nothing to list",
    "no data sets",
    "no members",
    "is empty",
    "empty directory",
    "directory empty",
    "empty folder",
];
const CHINESE_EMPTY: [&str; 6] = ["目录为空", "目录是空", "空目录", "没有文件", "无文件", "没有任何文件"];

/// Returns whether a refusal is about rights.
pub(crate) fn says_forbidden(reply: &Reply) -> bool {
    says(reply, &FORBIDDEN, &CHINESE_FORBIDDEN)
}

/// Returns whether a refusal says that there are no files, and nothing else.
pub(crate) fn says_empty(reply: &Reply) -> bool {
    matches!(reply.code, 450 | 550) && !says_forbidden(reply) && says(reply, &EMPTY, &CHINESE_EMPTY)
}

/// Returns whether a refusal says that something is not there, which of a directory that was entered may mean
/// that it is empty.
pub(crate) fn says_nothing_found(reply: &Reply) -> bool {
    !says_forbidden(reply)
        && says(reply, &["no such", "not found", "no file"], &["不存在", "找不到", "未找到"])
}

/// Chinese comes in UTF-8 or GBK.
fn says(reply: &Reply, words: &[&str], chinese: &[&str]) -> bool {
    let holds = |bytes: &[u8]| reply.body.windows(bytes.len()).any(|window| window == bytes);
    words.iter().any(|word| reply.mentions(word))
        || chinese.iter().any(|word| holds(word.as_bytes()) || holds(&encoding_rs::GBK.encode(word).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptiness_is_told_from_refusals_by_words() {
        let reply = |text: &str| Reply::from_body(format!("{text}\r\n").into_bytes());
        for empty in [
            "550 No files found.",
            "450 No files found in /MR",
            "550 Directory is empty",
            "550 目录为空",
            "550 没有文件",
        ] {
            assert!(says_empty(&reply(empty)), "{empty}");
        }
        let gbk = [&b"550 "[..], &encoding_rs::GBK.encode("目录为空").0, b"\r\n"].concat();
        assert!(says_empty(&Reply::from_body(gbk)));
        for other in [
            "550 Permission denied.",
            "550 No files: access is denied",
            "550 No such file or directory",
            "550 data encoding must be set to utf8 for listing.",
            "451 no files",
            "550 文件不存在",
        ] {
            assert!(!says_empty(&reply(other)), "{other}");
        }
    }
}
