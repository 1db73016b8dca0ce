//! Reservations: asked for, waited for, extended, released.

use super::machine::parse_cursor;
use super::{Desk, Refusal, ReservationFilter, view};
use crate::secret;
use crate::store::{NewReservation, StoredAccount};
use jiff::SignedDuration;
use model::auth::Quota;
use model::phase::{Phase, reservation_phase};
use model::reservation::{Ask, EndedBy, Login, LoginSecret, Reservation, parse_end};
use model::wire::{Page, ReservationCreate, ReservationPatch, ReservationView};
use model::{AccountId, Invalid, ReservationId, Timestamp};

/// Seconds a request waits for machines, unless it says otherwise.
const WAIT: u32 = 60;
/// How often a waiting request looks without having been woken: another server may have written.
const GLANCE: SignedDuration = SignedDuration::from_secs(1);

impl Desk {
    /// Answers when every machine is ready, or the wait is over. An ask that no machine could meet is `Failed`, and
    /// nothing is held.
    pub async fn reservation_create(
        &self,
        body: ReservationCreate,
        key: Option<String>,
    ) -> Result<ReservationView, Refusal> {
        let now = self.hub().clock.now();
        let until = self.until(body.wait)?;
        let key = self.keyed(key, "reservation", &without_secrets(&body))?;
        let ask = Ask::parse(self.with_own_keys(body), now)?;
        let want = self.caller.scope.narrow(ask.want, ask.expires_at.duration_since(now))?;
        let new = NewReservation {
            owner: self.caller.owner().zip(self.limits()),
            username: ask.username,
            want,
            expires_at: ask.expires_at,
            on_failure: ask.on_failure,
            account: StoredAccount {
                password_hash: hashed(&ask.login).await?,
                ssh_keys: ask.login.ssh_keys,
                shell: ask.shell,
                groups: ask.groups,
                sudo: ask.sudo,
            },
        };
        let (reservation, is_new) = self.store.reservation_create(new, key, now).await?;
        if is_new {
            self.wake(&reservation);
        }
        let reservation = self.wait_for(reservation, until, |phase, _| phase != Phase::Pending).await?;
        if let Some(EndedBy::Failed(why)) = &reservation.ended_by {
            return Err(Refusal::Failed(format!("{why}; nothing is held any longer, ask again")));
        }
        Ok(self.view(reservation))
    }

    pub async fn reservation_list(
        &self,
        filter: ReservationFilter,
    ) -> Result<Page<ReservationView>, Refusal> {
        let now = self.hub().clock.now();
        let mut cursor: Option<ReservationId> = filter.cursor.as_deref().map(parse_cursor).transpose()?;
        let live_only = matches!(filter.phase, Some(Phase::Pending | Phase::Ready));
        let mut items: Vec<ReservationView> = Vec::new();
        loop {
            let (owner, username) = (self.only_of(), filter.username.clone());
            let rows = self.store.reservation_list(owner, username, live_only, cursor, filter.limit).await?;
            for row in rows.items {
                cursor = Some(row.id);
                if filter.phase.is_none_or(|phase| reservation_phase(&row, now) == phase) {
                    items.push(view::reservation(row, now));
                }
                if items.len() == filter.limit as usize {
                    return Ok(Page { items, next: cursor.map(|id| id.to_string()) });
                }
            }
            if rows.is_last {
                return Ok(Page { items, next: None });
            }
        }
    }

    pub async fn reservation_get(&self, id: &str) -> Result<ReservationView, Refusal> {
        let reservation = self.seen(parse_id(id)?).await?;
        Ok(self.view(reservation))
    }

    /// Extends or shortens; answers when every machine has confirmed the new end, or the wait is over.
    pub async fn reservation_patch(
        &self,
        id: &str,
        body: ReservationPatch,
        wait: Option<u32>,
    ) -> Result<ReservationView, Refusal> {
        let now = self.hub().clock.now();
        let (id, until) = (parse_id(id)?, self.until(wait)?);
        let end = parse_end(body.duration, body.until, now)?;
        let found = self.seen(id).await?;
        self.caller.scope.allow(end.duration_since(found.created_at))?;
        // Whoever looks after all may give more than the owner could take.
        let quota = self.limits().filter(|_| !self.caller.looks_after_all());
        let reservation = self.store.reservation_extend(id, end, quota, now).await?;
        self.wake(&reservation);
        let confirmed = |_, reservation: &Reservation| reservation.live_seats().all(|seat| seat.in_sync);
        let reservation = self.wait_for(reservation, until, confirmed).await?;
        Ok(self.view(reservation))
    }

    /// Answers when nothing of it is left on any machine, or the wait is over.
    pub async fn reservation_release(&self, id: &str, wait: Option<u32>) -> Result<ReservationView, Refusal> {
        let (id, until) = (parse_id(id)?, self.until(wait)?);
        self.seen(id).await?;
        let reservation = self.store.reservation_release(id, self.hub().clock.now()).await?;
        self.wake(&reservation);
        let reservation = self.wait_for(reservation, until, |phase, _| phase == Phase::Ended).await?;
        Ok(self.view(reservation))
    }

    /// Ends what one has just made oneself, whatever has become of one's right to it.
    pub async fn reservation_undo(&self, id: ReservationId) -> Result<(), Refusal> {
        let store = self.hub().store.by(self.caller.actor());
        self.wake(&store.reservation_release(id, self.hub().clock.now()).await?);
        Ok(())
    }

    /// Ends every reservation that the caller looks after; returns how many there were. Answers when nothing is left of any, or the wait is over.
    pub async fn release_all(&self, wait: Option<u32>) -> Result<u32, Refusal> {
        let until = self.until(wait)?;
        let mut ending = Vec::new();
        for reservation in self.every_live_reservation().await? {
            let reservation = self.store.reservation_release(reservation.id, self.hub().clock.now()).await?;
            self.wake(&reservation);
            ending.push(reservation);
        }
        let count = ending.len() as u32;
        for reservation in ending {
            self.wait_for(reservation, until, |phase, _| phase == Phase::Ended).await?;
        }
        Ok(count)
    }

    pub(super) async fn every_live_reservation(&self) -> Result<Vec<Reservation>, Refusal> {
        let mut all: Vec<Reservation> = Vec::new();
        loop {
            let cursor = all.last().map(|reservation| reservation.id);
            let page = self.store.reservation_list(self.only_of(), None, true, cursor, 1000).await?;
            all.extend(page.items);
            if page.is_last {
                return Ok(all);
            }
        }
    }

    /// One of others is not there.
    async fn seen(&self, id: ReservationId) -> Result<Reservation, Refusal> {
        let found = self.store.reservation_get(id).await?;
        if self.caller.may_see(&found) { Ok(found) } else { Err(missing()) }
    }

    /// Whose reservations alone are shown; everybody's if absent.
    fn only_of(&self) -> Option<AccountId> {
        self.caller.account.as_ref().filter(|_| !self.caller.looks_after_all()).map(|account| account.id)
    }

    pub(super) fn limits(&self) -> Option<Quota> {
        self.caller.account.as_ref().map(|account| self.app.gate().limits(account))
    }

    /// The account's keys are the default way in.
    fn with_own_keys(&self, mut body: ReservationCreate) -> ReservationCreate {
        let has_none = body.password.is_none() && body.password_hash.is_none() && body.ssh_keys.is_empty();
        if let Some(account) = self.caller.account.as_ref().filter(|_| has_none) {
            body.ssh_keys = account.ssh_keys.iter().map(|key| key.as_str().to_owned()).collect();
        }
        body
    }

    pub(super) fn wake(&self, reservation: &Reservation) {
        let open = reservation.seats.iter().filter(|seat| seat.cleaned_at.is_none());
        open.for_each(|seat| self.hub().queue.add(seat.machine));
        self.hub().expiry.may_be(reservation.expires_at);
    }

    /// Looks at a reservation, just written, until it is done or its time is over.
    async fn wait_for(
        &self,
        mut reservation: Reservation,
        until: Timestamp,
        done: impl Fn(Phase, &Reservation) -> bool,
    ) -> Result<Reservation, Refusal> {
        let hub = self.hub();
        let bell = hub.watchers.watch(reservation.id);
        let mut fresh = hub.clock.now() >= until;
        loop {
            let changed = bell.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            let now = hub.clock.now();
            if !std::mem::take(&mut fresh) {
                reservation = self.store.reservation_get(reservation.id).await?;
            }
            if done(reservation_phase(&reservation, now), &reservation) || now >= until {
                break;
            }
            tokio::select! {
                () = changed => {}
                () = hub.clock.sleep_until(until.min(now + GLANCE)) => {}
            }
        }
        hub.watchers.leave(reservation.id, bell);
        Ok(reservation)
    }

    /// When a request that waits so long is to be answered at the latest.
    fn until(&self, wait: Option<u32>) -> Result<Timestamp, Invalid> {
        let seconds = wait.unwrap_or(WAIT);
        if seconds > WAIT {
            return Err(Invalid::new("wait", format!("at most {WAIT} seconds")));
        }
        Ok(self.hub().clock.now() + SignedDuration::from_secs(i64::from(seconds)))
    }

    fn view(&self, reservation: Reservation) -> ReservationView {
        view::reservation(reservation, self.hub().clock.now())
    }
}

/// The password's hash. It goes no further in clear.
async fn hashed(login: &Login) -> Result<Option<model::account::PasswordHash>, Refusal> {
    match login.secret.clone() {
        None => Ok(None),
        Some(LoginSecret::Hash(hash)) => Ok(Some(hash)),
        Some(LoginSecret::Password(password)) => {
            let hashing = tokio::task::spawn_blocking(move || secret::hash(&password));
            let hash = hashing.await.map_err(|error| Refusal::Internal(error.to_string()))??;
            Ok(Some(hash))
        }
    }
}

fn without_secrets(body: &ReservationCreate) -> ReservationCreate {
    ReservationCreate { password: None, password_hash: None, wait: None, ..body.clone() }
}

fn parse_id(id: &str) -> Result<ReservationId, Refusal> {
    id.parse().map_err(|_| missing())
}

fn missing() -> Refusal {
    Refusal::NotFound("there is no such reservation; GET /v1/reservations lists them".to_owned())
}
