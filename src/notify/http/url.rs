//! The URL that announces a file.

use url::Url;

use crate::base::names::{RemotePath, ServerName};

/// `{base}?file={percent-encoded /{server}{path}}`. A query that `base` has already is kept in front.
///
/// Every byte but letters, digits and `-_.~` is encoded (RFC 3986 section 2.3), the slashes too; names that are
/// not ASCII by the bytes of their UTF-8.
#[must_use]
pub fn announcement(base: &Url, server: &ServerName, path: &RemotePath) -> String {
    let mut base = base.clone();
    base.set_fragment(None);
    let separator = match base.query() {
        None => "?",
        Some("") => "",
        Some(_) => "&",
    };
    let file = format!("/{server}{}", path.text());
    format!("{base}{separator}file={}", urlencoding::encode(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(base: &str, path: &str) -> String {
        let path = RemotePath::from_text(path, encoding_rs::UTF_8).unwrap();
        announcement(&Url::parse(base).unwrap(), &ServerName::new("omc01").unwrap(), &path)
    }

    #[test]
    fn the_path_is_encoded_byte_for_byte() {
        assert_eq!(
            announced("http://mro.web.com/dls.php", "/xxx/omc_456456_mro.zip"),
            "http://mro.web.com/dls.php?file=%2Fomc01%2Fxxx%2Fomc_456456_mro.zip"
        );
        assert_eq!(
            announced("http://h/d", "/上海/a b+c&d=1%#.zip"),
            "http://h/d?file=%2Fomc01%2F%E4%B8%8A%E6%B5%B7%2Fa%20b%2Bc%26d%3D1%25%23.zip"
        );
    }

    #[test]
    fn a_query_of_the_base_is_kept() {
        assert_eq!(announced("http://h/d?token=x", "/a.zip"), "http://h/d?token=x&file=%2Fomc01%2Fa.zip");
        assert_eq!(announced("http://h/d?#top", "/a.zip"), "http://h/d?file=%2Fomc01%2Fa.zip");
    }
}
