//! What is counted since the server started.

use model::cleaning::Cleaning;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds that cleaning takes: from a small account to a disk full of files.
const CLEANING: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0];

pub struct Metrics {
    requests: Family<Vec<(String, String)>, Counter>,
    pub ready: Counter,
    pub cleaned: Counter,
    pub visits: Counter,
    pub visits_failed: Counter,
    pub log_ins_failed: Counter,
    residue: Family<Vec<(String, String)>, Counter>,
    cleaning: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            ready: Counter::default(),
            cleaned: Counter::default(),
            visits: Counter::default(),
            visits_failed: Counter::default(),
            log_ins_failed: Counter::default(),
            residue: Family::default(),
            cleaning: Histogram::new(CLEANING),
        }
    }
}

impl Metrics {
    pub fn request_seen(&self, route: &str, status: u16) {
        let labels = vec![("route".to_owned(), route.to_owned()), ("status".to_owned(), status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts what an account had left, when nothing of it is there any longer.
    pub fn cleaning_seen(&self, cleaning: &Cleaning) {
        for (kind, count) in &cleaning.removed {
            let labels = vec![("kind".to_owned(), kind.name().to_owned())];
            self.residue.get_or_create(&labels).inc_by(u64::from(*count));
        }
        self.cleaning.observe(cleaning.took_in_all() as f64 / 1_000_000.0);
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register("accounts_ready", "Accounts seen to work", self.ready.clone());
        registry.register(
            "machines_cleaned",
            "Machines seen clean after a reservation",
            self.cleaned.clone(),
        );
        registry.register("visits", "Visits over SSH that were made", self.visits.clone());
        registry.register("visits_failed", "Visits over SSH that failed", self.visits_failed.clone());
        registry.register(
            "log_ins_failed",
            "Log-ins with a wrong name or password",
            self.log_ins_failed.clone(),
        );
        registry.register("residue_removed", "What accounts had left behind", self.residue.clone());
        registry.register(
            "cleaning_seconds",
            "Work of taking one account away, in all attempts",
            self.cleaning.clone(),
        );
    }
}
