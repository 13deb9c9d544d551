//! The page itself: files that lie beside this one and are part of the binary.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

/// Path, type and content.
const ASSETS: [(&str, &str, &str); 6] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/texts.js", "text/javascript; charset=utf-8", include_str!("page/texts.js")),
    // what programs can ask for (OpenAPI 3.1)
    ("/openapi.json", "application/json", include_str!("page/openapi.json")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

pub(super) fn routes(app: &mut web::ServiceConfig) {
    for (path, ..) in ASSETS {
        app.route(path, web::get().to(asset)).route(path, web::head().to(asset));
    }
}

/// Returns whether the path is one of the page's files, which hold nothing of the service.
pub(super) fn is_asset(path: &str) -> bool {
    ASSETS.iter().any(|(asset, ..)| *asset == path)
}

async fn asset(request: HttpRequest) -> HttpResponse {
    match ASSETS.iter().find(|(path, ..)| *path == request.path()) {
        // asked for anew each time: another version of the program has other files
        Some((_, kind, content)) => HttpResponse::Ok()
            .content_type(*kind)
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(*content),
        None => HttpResponse::NotFound().finish(),
    }
}
