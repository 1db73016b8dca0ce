//! The document of the API: it is the one in the tree, and each operation lets in whom it says, and nobody else.

mod matrix;

use tests::{Database, Farm};

/// `just openapi` writes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_in_the_tree_is_the_one_that_is_served() {
    let farm = Farm::new(Database::Sqlite).await;
    let served = farm.http.get(format!("{}/openapi.json", farm.url())).send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    let served = served.text().await.unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");
    if std::env::var_os("BERTH_WRITE_OPENAPI").is_some() {
        std::fs::write(file, &served).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    let differs = kept.lines().zip(served.lines()).find(|(kept, served)| kept != served);
    assert!(
        kept == served,
        "`openapi.json` is not what the server says: run `just openapi`; first: {differs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_needs_nothing_from_elsewhere() {
    let farm = Farm::new(Database::Sqlite).await;
    let page = farm.http.get(format!("{}/docs", farm.url())).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = page.text().await.unwrap();
    for word in ["<script", "<img", "<link", "<iframe", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("/v1/reservations"), "it is about the API");
}
