//! Answers as people like to read them.

/// JSON with a line for each field and for each item of a list; what is deeper stays on its line.
pub(super) fn json(text: &str) -> String {
    const BROKEN: usize = 2;
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0, false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let breaks =
            |depth: usize| if depth <= BROKEN { format!("\n{}", "  ".repeat(depth)) } else { String::new() };
        let empty = matches!(chars.peek(), Some('}' | ']'));
        match c {
            _ if quoted => out.push(c),
            '{' | '[' if empty => out.push(c),
            '{' | '[' => {
                depth += 1;
                out += &format!("{c}{}", breaks(depth));
            }
            '}' | ']' if out.ends_with(['{', '[']) => out.push(c),
            '}' | ']' => {
                // The line this closes was opened one deeper.
                let end = breaks(depth);
                depth -= 1;
                out += &if end.is_empty() { c.to_string() } else { format!("{}{c}", breaks(depth)) };
            }
            ',' if depth <= BROKEN => out += &format!(",{}", breaks(depth)),
            ',' | ':' => out += &format!("{c} "),
            _ => out.push(c),
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    out
}

/// Cells between tabs, brought into columns.
pub(super) fn columns(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let width = |at: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let line = |row: &Vec<&str>| {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}  ", width(at)));
        if row.len() > 1 { cells.collect::<String>().trim_end().to_owned() } else { row.concat() }
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
