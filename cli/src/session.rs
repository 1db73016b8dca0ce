//! One run of the command line: whom it talks to and how it prints.

use crate::table::Table;
use cli::{Answer, Client, Error, Slice};
use jiff::Timestamp;
use model::wire::Page;
use std::io::{self, Write};

pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) json: bool,
    /// Whether a person reads the output.
    pub(crate) terminal: bool,
}

impl Session {
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", text.trim_end_matches('\n'))
    }

    /// The answer as it came, or in words.
    pub(crate) fn show<T>(&self, answer: &Answer<T>, words: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json { self.print(&answer.text) } else { self.print(&words(&answer.body)) }
    }

    /// Pages as they came, or one table of all their items.
    pub(crate) fn show_pages<T>(
        &self,
        pages: &[Answer<Page<T>>],
        words: impl FnOnce(Vec<&T>, Option<Timestamp>) -> Table,
    ) -> io::Result<()> {
        if self.json {
            return pages.iter().try_for_each(|page| self.print(&page.text));
        }
        let items = pages.iter().flat_map(|page| &page.items).collect();
        let served_at = pages.last().and_then(|page| page.served_at);
        self.print(&words(items, served_at).render(self.terminal))
    }
}

/// Follows `next` from the first page on.
pub(crate) async fn all_pages<T>(
    first: Slice,
    fetch: impl AsyncFn(Slice) -> Result<Answer<Page<T>>, Error>,
) -> Result<Vec<Answer<Page<T>>>, Error> {
    let mut pages = Vec::new();
    let mut slice = first;
    loop {
        let page = fetch(slice.clone()).await?;
        // An append-only list may name a next page for later; one that brings nothing new ends the walk now.
        let next =
            page.next.clone().filter(|next| !page.items.is_empty() && slice.cursor.as_ref() != Some(next));
        pages.push(page);
        match next {
            Some(next) => slice.cursor = Some(next),
            None => return Ok(pages),
        }
    }
}
