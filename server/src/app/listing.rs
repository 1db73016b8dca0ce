//! Media servers: listed, looked at, and never lent.

use super::{Desk, Refusal};
use model::listing::MediaServer;
use model::wire::MachineView;

impl Desk {
    pub async fn media_server_create(&self, server: MediaServer) -> Result<MachineView, Refusal> {
        server.check()?;
        let now = self.hub().clock.now();
        let machine = self.store.media_server_create(server, now).await?;
        self.hub().queue.add(machine.id);
        Ok(self.machine_view(machine, now))
    }

    pub async fn media_server_get(&self, ip: &str) -> Result<MachineView, Refusal> {
        let machine = self.store.media_server_get(ip).await?;
        Ok(self.machine_view(machine, self.hub().clock.now()))
    }

    pub async fn media_server_list(&self) -> Result<Vec<MachineView>, Refusal> {
        let now = self.hub().clock.now();
        let machines = self.store.media_server_list().await?;
        Ok(machines.into_iter().map(|machine| self.machine_view(machine, now)).collect())
    }

    pub async fn media_server_delete(&self, ip: &str) -> Result<(), Refusal> {
        self.store.media_server_delete(ip, self.hub().clock.now()).await?;
        Ok(())
    }
}
