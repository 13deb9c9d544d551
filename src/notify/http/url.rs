//! The URL that announces a file, and how URLs are shown and called.

use ::url::Url;

/// Characters shown of a URL, and of what an answer says.
pub(super) const MAX_SHOWN: usize = 200;

/// Returns `{base}?file={percent-encoded file}`. A query that `base` has already is kept in front; one that ends in
/// `file=` gets the file there.
///
/// Every byte but letters, digits and `-_.~` is encoded (RFC 3986 section 2.3), the slashes too; names that are
/// not ASCII by the bytes of their UTF-8.
pub(super) fn of_file(base: &Url, file: &str) -> String {
    let mut base = base.clone();
    base.set_fragment(None);
    let key = match base.query() {
        None => "?file=",
        Some("") => "file=",
        Some(query) if query.rsplit('&').next() == Some("file=") => "",
        Some(_) => "&file=",
    };
    format!("{base}{key}{}", urlencoding::encode(file))
}

/// Returns the host as the header names it: with its port unless that is the scheme's own.
pub(super) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Returns a URL without what may be secret.
pub(super) fn shown(url: &Url) -> String {
    let shown = format!("{}://{}{}", url.scheme(), host(url), url.path());
    shown.chars().take(MAX_SHOWN).collect()
}

/// Returns a URL as awc is to see it: TLS is a matter of the stream.
pub(super) fn plain(url: &str) -> String {
    url.strip_prefix("https://").map_or_else(|| url.to_owned(), |rest| format!("http://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(base: &str, path: &str) -> String {
        of_file(&Url::parse(base).unwrap(), &format!("/omc01{path}"))
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

    /// interface 13.14
    #[test]
    fn a_query_that_ends_where_the_file_belongs_gets_it_there() {
        for (base, called) in [
            ("http://h/d?file=", "http://h/d?file=%2Fomc01%2Fa.zip"),
            ("http://h/d?a=b&file=#x", "http://h/d?a=b&file=%2Fomc01%2Fa.zip"),
            ("http://h/d?myfile=", "http://h/d?myfile=&file=%2Fomc01%2Fa.zip"),
            ("http://h/d?file=x", "http://h/d?file=x&file=%2Fomc01%2Fa.zip"),
        ] {
            assert_eq!(announced(base, "/a.zip"), called);
        }
    }

    #[test]
    fn a_url_is_shown_without_its_query_and_called_by_its_own_host() {
        let url = Url::parse("https://mro.web.com:8443/dls.php?token=geheim").unwrap();
        assert_eq!(shown(&url), "https://mro.web.com:8443/dls.php");
        assert_eq!(host(&Url::parse("https://mro.web.com:443/").unwrap()), "mro.web.com");
        assert_eq!(plain("https://h/d?file=https"), "http://h/d?file=https");
    }
}
