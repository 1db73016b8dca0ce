//! `berth room`: room servers, which are containers that a pool of the server's runs.

use super::{Usage, counted, pool};
use crate::session::{Session, all_pages};
use crate::table;
use anyhow::{Context, Result, bail};
use cli::{Error, MachineFilter, Slice};
use model::service::Service;
use model::wire::{MachineView, PoolPut, PoolView};
use model::{Labels, PoolName};
use std::collections::BTreeMap;
use std::time::Duration;

mod wanted;

use wanted::Wanted;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// What stands in the way for so many looks is not about to go by itself.
const LOOKS: u32 = 15;
/// Looks until a container has to be up, or gone.
const MOST_LOOKS: u32 = 400;
/// What pools of room servers are labelled with.
const LABEL: (&str, &str) = ("service", "room");

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Run a room server in a container of the server's Docker engine, beside those there are, and wait until it is up.
    ///
    /// It is described by the environment: HTTPAPIURL (what it calls back), IMAGE (or DOCKER_IMAGE), IP_ADDRESS and PORT (where
    /// it is reached, by UDP; 8000, or the next free one if that is taken), CONTAINER_NAME (roomserver), CPUS (2),
    /// MEMORY_IN_GB (1.5), ROOM_PORT (inside; 80/udp). The container gets HTTPAPIURL, SERVER_PORT, and a TOKEN of its own.
    Create,
    /// Destroy every room server, and wait until they are gone.
    #[command(visible_alias = "destroyAll")]
    DestroyAll,
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Create => create(session, Wanted::read(|name| std::env::var(name).ok())?).await,
            Self::DestroyAll => destroy_all(session).await,
        }
    }
}

async fn create(session: &Session, wanted: Wanted) -> Result<()> {
    let before = want_one_more(session, &wanted).await?;
    let name = &wanted.name;
    let is_new = |room: &MachineView| !before.rooms.iter().any(|known| known.id == room.id);
    let room = match until_up(session, name, is_new).await {
        Ok(room) => room,
        Err(why) => {
            return match want_one_fewer(session, &wanted, before.pool).await {
                Ok(()) => Err(why),
                Err(error) => Err(why.context(format!("what there was could not be restored ({error})"))),
            };
        }
    };
    let answer = session.client.machine_get(&room.name).await?;
    let words = |got: &MachineView| {
        format!("{} is up at {}", got.name, super::reservation::address(&got.host, got.port))
    };
    Ok(session.show(&answer, |got| table::clean(&words(got)))?)
}

/// What there was before.
struct Before {
    pool: Option<PoolView>,
    rooms: Vec<MachineView>,
}

/// Whoever does the same at this moment goes first, or after us: which container is whose shows in what was there before.
async fn want_one_more(session: &Session, wanted: &Wanted) -> Result<Before> {
    let Wanted { name, image, service } = wanted;
    for _ in 0..MOST_LOOKS {
        let pool = pool::existing(session, name).await?.map(|answer| answer.body);
        let (size, is_troubled) =
            pool.as_ref().map_or((0, false), |pool| (pool.size, pool.problem.is_some()));
        let rooms = rooms(session, name).await?;
        // Somebody else's is about to be made.
        if rooms.len() < size as usize && !is_troubled {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let one_more = PoolPut { was: Some(size), ..put(image, service.clone(), size + 1) };
        match session.client.pool_put(name, &one_more).await {
            Ok(_) => return Ok(Before { pool, rooms }),
            Err(error) if !has_another_size(session, name, size, &error).await? => return Err(error.into()),
            Err(_) => {}
        }
    }
    bail!("others make room servers of `{name}` all the time; try again")
}

/// One that never came up is the first to go. What there was stays as it was, unless somebody has changed it since.
async fn want_one_fewer(session: &Session, wanted: &Wanted, before: Option<PoolView>) -> Result<(), Error> {
    let Wanted { name, image, service } = wanted;
    let former_size = before.as_ref().map_or(0, |pool| pool.size);
    let former = before.and_then(|pool| Some((pool.image, pool.service?)));
    loop {
        let pool = session.client.pool_get(name).await?.body;
        let size = pool.size.saturating_sub(1);
        let (image, service) = match (pool.service, &former) {
            (Some(service), _) if size != former_size => (pool.image, service),
            (_, Some(former)) => former.clone(),
            (_, None) => (image.clone(), service.clone()),
        };
        let one_fewer = PoolPut { was: Some(pool.size), ..put(&image, service, size) };
        match session.client.pool_put(name, &one_fewer).await {
            Ok(_) => return Ok(()),
            Err(error) if !has_another_size(session, name, pool.size, &error).await? => return Err(error),
            Err(_) => {}
        }
    }
}

/// Whether that is why it was refused.
async fn has_another_size(
    session: &Session,
    name: &PoolName,
    size: u32,
    error: &Error,
) -> Result<bool, Error> {
    if error.status() != Some(409) {
        return Ok(false);
    }
    Ok(pool::existing(session, name).await?.map_or(0, |pool| pool.size) != size)
}

fn put(image: &str, service: Service, size: u32) -> PoolPut {
    let (key, value) = LABEL;
    // Both are fit for labels.
    let labels = Labels::try_from(BTreeMap::from([(key.to_owned(), value.to_owned())])).unwrap_or_default();
    let provider = "docker".to_owned();
    let image = image.to_owned();
    PoolPut { provider, image, size, labels, service: Some(service), ..PoolPut::default() }
}

/// The machines of a pool.
async fn rooms(session: &Session, name: &PoolName) -> Result<Vec<MachineView>, Error> {
    let filter = MachineFilter { labels: Labels::default(), state: Some("listed".to_owned()) };
    let fetch = async |slice| session.client.machine_list(&filter, &slice).await;
    let pages = all_pages(Slice::default(), fetch).await?;
    let machines = pages.into_iter().flat_map(|page| page.body.items);
    Ok(machines.filter(|machine| machine.pool.as_ref() == Some(name)).collect())
}

/// A new room server of this pool, once it is up.
async fn until_up(
    session: &Session,
    name: &PoolName,
    is_new: impl Fn(&MachineView) -> bool,
) -> Result<MachineView> {
    let mut troubled = 0;
    for _ in 0..MOST_LOOKS {
        let pool = session.client.pool_get(name).await?;
        let up = |room: &MachineView| is_new(room) && room.probe.is_some_and(|probe| probe.up);
        if let Some(room) = rooms(session, name).await?.into_iter().find(up) {
            return Ok(room);
        }
        troubled = if pool.problem.is_some() { troubled + 1 } else { 0 };
        if let Some(problem) = pool.problem.clone().filter(|_| troubled >= LOOKS) {
            bail!("the room server could not be made: {problem}");
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the room server is not up in time; look at `docker logs` of it, and at the server's log")
}

async fn destroy_all(session: &Session) -> Result<()> {
    let pools = session.client.pool_list().await?;
    let of_rooms: Vec<_> = pools.items.iter().filter(|pool| is_of_rooms(pool)).collect();
    let count: u32 = of_rooms.iter().flat_map(|pool| pool.states.values()).sum();
    for pool in &of_rooms {
        let service = pool.service.clone().context("a pool of room servers has a service")?;
        session.client.pool_put(&pool.name, &put(&pool.image, service, 0)).await?;
    }
    for pool in &of_rooms {
        until_gone(session, &pool.name).await?;
    }
    if session.json {
        return Ok(());
    }
    let words = match count {
        0 => "there are no room servers".to_owned(),
        _ => format!("{} destroyed", counted(count as usize, "room server")),
    };
    Ok(session.print(&words)?)
}

fn is_of_rooms(pool: &PoolView) -> bool {
    pool.service.is_some() && pool.labels.iter().any(|label| label == LABEL)
}

async fn until_gone(session: &Session, name: &PoolName) -> Result<()> {
    let mut problem = None;
    for _ in 0..MOST_LOOKS {
        let pool = session.client.pool_get(name).await?;
        if pool.states.values().all(|count| *count == 0) {
            return Ok(());
        }
        problem = pool.problem.clone();
        tokio::time::sleep(PAUSE).await;
    }
    let why = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
    bail!("room servers of `{name}` are there still{why}")
}
