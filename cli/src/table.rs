//! Rows for people on a terminal, and tab-separated lines for whatever reads a pipe.

use comfy_table::presets::UTF8_FULL_CONDENSED;

pub(crate) struct Table {
    header: &'static [&'static str],
    rows: Vec<Vec<String>>,
    /// What to say when there is nothing to list.
    empty: &'static str,
}

impl Table {
    pub(crate) fn new(header: &'static [&'static str], empty: &'static str) -> Self {
        Self { header, rows: Vec::new(), empty }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    pub(crate) fn render(&self, terminal: bool) -> String {
        match (terminal, self.rows.is_empty()) {
            (true, true) => self.empty.to_owned(),
            (true, false) => self.drawn(),
            (false, _) => self.tabbed(),
        }
    }

    fn drawn(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(self.header.to_vec());
        for row in &self.rows {
            table.add_row(row.clone());
        }
        table.to_string()
    }

    fn tabbed(&self) -> String {
        if self.rows.is_empty() {
            return self.header.join("\t");
        }
        format!("{}\n{}", self.header.join("\t"), self.lines())
    }

    /// Without a header: others may have come before, and come after.
    pub(crate) fn lines(&self) -> String {
        self.rows.iter().map(|row| row.join("\t")).collect::<Vec<_>>().join("\n")
    }
}

/// Text from machines must not steer the terminal it is shown on.
pub(crate) fn clean(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' { safe.extend(c.escape_debug()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gets_tabs_and_a_terminal_gets_lines() {
        let mut table = Table::new(&["name", "state"], "no machines");
        assert_eq!(table.render(true), "no machines");
        assert_eq!(table.render(false), "name\tstate");
        table.row(["m1".to_owned(), "free".to_owned()]);
        assert_eq!(table.render(false), "name\tstate\nm1\tfree");
        assert!(table.render(true).contains("│ m1   ┆ free  │"), "{}", table.render(true));
    }

    #[test]
    fn escape_sequences_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2Jb\tc"), "a\\u{1b}[2Jb\\tc");
    }
}
