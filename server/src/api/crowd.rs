//! How many connections each client has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Crowd {
    most: usize,
    present: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; counted until it is dropped.
pub(super) struct Admission {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

impl Crowd {
    pub(super) fn new(most: usize) -> Self {
        Self { most, present: Mutex::default() }
    }

    /// One more, unless this client has as many as it may.
    pub(super) fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Admission> {
        let mut present = self.present();
        let has = present.get(&client).copied().unwrap_or_default();
        (has < self.most).then(|| {
            present.insert(client, has + 1);
            Admission { crowd: self.clone(), client }
        })
    }

    fn present(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        match present.get_mut(&self.client) {
            Some(has) if *has > 1 => *has -= 1,
            // Whoever has left takes no memory.
            _ => drop(present.remove(&self.client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many_and_no_more() {
        let crowd = Arc::new(Crowd::new(2));
        let (ours, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let (first, _second) = (crowd.admit(ours), crowd.admit(ours).unwrap());
        assert!(crowd.admit(ours).is_none());
        assert!(crowd.admit(other).is_some());
        drop(first.unwrap());
        let again = crowd.admit(ours).unwrap();
        assert!(crowd.admit(ours).is_none());
        drop((again, _second));
        assert!(crowd.present().is_empty());
    }
}
