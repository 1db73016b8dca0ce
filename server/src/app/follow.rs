//! Events as they happen. The record has no gaps, so that a stream is nothing but the list read again whenever there may be
//! more: a commit of this server is a hint, and another server's is found by looking now and then.

use super::{Desk, Refusal};
use crate::store::EventFilter;
use futures_util::Stream;
use futures_util::stream::unfold;
use jiff::SignedDuration;
use model::wire::EventView;
use model::{AccountId, Invalid, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Without a hint.
const LOOK: SignedDuration = SignedDuration::from_secs(1);
/// So often those who follow hear something, and whether they still may is looked at.
const BEAT: SignedDuration = SignedDuration::from_secs(15);
/// Streams of one account; those of a server without accounts count as one's.
const MOST: usize = 16;
const PAGE: u32 = 256;

/// What somebody who follows is told.
#[derive(Debug)]
pub enum News {
    Event(Box<EventView>),
    /// Nothing that this filter is for has happened up to this event.
    Beat(i64),
}

/// How many streams each account has.
pub(super) type Followers = Arc<Mutex<HashMap<Option<AccountId>, usize>>>;

struct Place {
    followers: Followers,
    of: Option<AccountId>,
}

impl Desk {
    /// Events after `after`, or from now on, until `stop` is true or whoever asks may see them no longer. The first thing
    /// that comes is a beat.
    pub async fn follow(
        self,
        after: Option<i64>,
        filter: EventFilter,
        stop: watch::Receiver<bool>,
    ) -> Result<impl Stream<Item = News> + Send, Refusal> {
        let place =
            Place::take(self.app.followers(), self.caller.account.as_ref().map(|account| account.id))?;
        let last = self.store.event_last().await?;
        let after = after.unwrap_or(last);
        if !(0..=last).contains(&after) {
            let why = format!("the newest event is {last}: was the database restored? begin without it");
            return Err(Invalid::new("after", why).into());
        }
        let committed = self.store.committed();
        let ready = VecDeque::new();
        let told_at = Timestamp::MIN;
        let following =
            Following { desk: self, filter, after, ready, told_at, committed, stop, _place: place };
        Ok(unfold(following, |mut following| async {
            let news = following.next().await?;
            Some((news, following))
        }))
    }
}

struct Following {
    desk: Desk,
    filter: EventFilter,
    after: i64,
    /// Read, and not yet told.
    ready: VecDeque<EventView>,
    told_at: Timestamp,
    committed: watch::Receiver<()>,
    stop: watch::Receiver<bool>,
    _place: Place,
}

impl Following {
    async fn next(&mut self) -> Option<News> {
        loop {
            if *self.stop.borrow() {
                return None;
            }
            let now = self.desk.hub().clock.now();
            if let Some(event) = self.ready.pop_front() {
                self.told_at = now;
                return Some(News::Event(Box::new(event)));
            }
            // What is committed from here on is a hint again.
            self.committed.borrow_and_update();
            self.look().await?;
            let beat_at = self.told_at.saturating_add(BEAT).unwrap_or(now);
            match (self.ready.is_empty(), beat_at <= now) {
                (false, _) => self.may_stay().await?,
                (true, true) => {
                    self.may_stay().await?;
                    self.told_at = now;
                    return Some(News::Beat(self.after));
                }
                (true, false) => self.rest(beat_at.min(now + LOOK)).await,
            }
        }
    }

    /// The end, if the database cannot be read: whoever follows comes back, and misses nothing.
    async fn look(&mut self) -> Option<()> {
        let news = self.desk.store.event_news(self.after, self.filter.clone(), PAGE).await;
        let (events, after) =
            news.inspect_err(|failure| tracing::warn!(%failure, "a stream of events ends")).ok()?;
        (self.ready, self.after) = (events.into(), after);
        Some(())
    }

    async fn may_stay(&self) -> Option<()> {
        let may = self.desk.may_still().await;
        may.unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "a stream of events ends");
            false
        })
        .then_some(())
    }

    async fn rest(&mut self, until: Timestamp) {
        let mut stop = self.stop.clone();
        tokio::select! {
            // Nothing is lost: the next look finds what there is.
            _ = self.committed.changed() => {}
            () = self.desk.hub().clock.sleep_until(until) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

impl Place {
    fn take(followers: &Followers, of: Option<AccountId>) -> Result<Self, Refusal> {
        let place = Self { followers: followers.clone(), of };
        let mut all = place.lock();
        let has = all.entry(of).or_default();
        *has += 1;
        let is_too_many = *has > MOST;
        drop(all);
        if is_too_many {
            let why = format!("{MOST} streams of events are open already: end one first");
            return Err(Refusal::TooMany { why, wait: BEAT });
        }
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<AccountId>, usize>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.lock();
        match all.get_mut(&self.of) {
            Some(has) if *has > 1 => *has -= 1,
            _ => drop(all.remove(&self.of)),
        }
    }
}
