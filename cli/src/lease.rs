//! How long: `--for` or `--until`.

use jiff::Timestamp;
use model::wire::DurationText;

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Lease {
    /// How long from now: `90m`, `2h`, `1d 12h`, `PT1H`, or a number of minutes.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<String>,
    /// Until a time such as `2026-01-31T18:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

impl Lease {
    pub(crate) fn is_given(&self) -> bool {
        self.lasts.is_some() || self.until.is_some()
    }

    pub(crate) fn duration(&self) -> Option<DurationText> {
        self.lasts.clone().map(DurationText::Text)
    }

    pub(crate) fn until(&self) -> Option<String> {
        self.until.map(|until| until.to_string())
    }
}

/// Checked here for the sake of an early answer; sent as it was written.
fn duration(text: &str) -> Result<String, String> {
    model::duration::parse(text).map(|_| text.to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write it as `2026-01-31T18:00:00Z`".to_owned())
}
