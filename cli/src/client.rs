//! The routes, over HTTPS; plain HTTP is for loopback.

use crate::filter::label_query;
use crate::{Answer, Error, EventFilter, EventStream, MachineFilter, ReservationFilter, Slice};
use jiff::Timestamp;
use model::ssh::Secret;
use model::wire::{
    AccountCreate, AccountPatch, AccountView, Availability, CleaningView, CouldLogIn, EventView, Health,
    LoggedIn, Login, MachineAdopt, MachineCreate, MachineCreated, MachinePatch, MachineView, Me, Page,
    PoolPut, PoolView, ReservationCreate, ReservationPatch, ReservationView, TokenCreate, TokenCreated,
    TokenView, Version,
};
use model::{AccountName, Labels, MachineName, PoolName, ReservationId, TokenId};
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(5);
/// Calls that answer at once.
const QUICK: Duration = Duration::from_secs(15);
/// Calls the server may hold for up to 60 seconds.
const WAITING: Duration = Duration::from_secs(75);
/// Before each new try of a POST whose connection failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// A connection to one server; clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    /// Whether secrets may be sent there.
    is_private: bool,
    token: Option<Secret>,
    http: reqwest::Client,
}

impl Client {
    /// `base_url` as in `http://127.0.0.1:8080` or `https://berth.example.org`, known by the CAs that this computer trusts.
    pub fn new(base_url: &str) -> Result<Self, Error> {
        let base = parsed(base_url)?;
        // The computer's own CAs take a while to read.
        let is_https = base.scheme() == "https";
        Self::with(&base, reqwest::Client::builder().tls_built_in_root_certs(is_https))
    }

    /// The same for an `https` server that is known by these CAs and no others, given in PEM.
    pub fn with_ca(base_url: &str, ca: &[u8]) -> Result<Self, Error> {
        let base = parsed(base_url)?;
        if base.scheme() != "https" {
            return Err(Error::Odd(format!("`{base}` is not known by a CA: only `https://` servers are")));
        }
        let authorities = reqwest::Certificate::from_pem_bundle(ca).unwrap_or_default();
        if authorities.is_empty() {
            let what = "the CA is no certificate in PEM: it begins with `-----BEGIN CERTIFICATE-----`";
            return Err(Error::Odd(what.to_owned()));
        }
        let http = reqwest::Client::builder().tls_built_in_root_certs(false);
        let http = authorities.into_iter().fold(http, ClientBuilder::add_root_certificate);
        Self::with(&base, http)
    }

    /// Passwords take no detour: neither through a proxy that the environment names nor to another address.
    fn with(base: &Url, http: ClientBuilder) -> Result<Self, Error> {
        let http = http.connect_timeout(CONNECT).no_proxy().redirect(Policy::none()).build();
        let http = http.map_err(|why| Error::Odd(format!("no HTTP client: {why}")))?;
        let is_private = is_private_enough(base);
        Ok(Self { base: base.as_str().trim_end_matches('/').to_owned(), is_private, token: None, http })
    }

    /// Shows this token with every call. Refused where others could read it.
    pub fn with_token(self, token: Secret) -> Result<Self, Error> {
        self.ensure_private()?;
        Ok(Self { token: Some(token), ..self })
    }

    /// To be asked before anything secret is sent.
    fn ensure_private(&self) -> Result<(), Error> {
        if self.is_private { Ok(()) } else { Err(Error::exposed(&self.base)) }
    }

    pub fn base_url(&self) -> &str {
        &self.base
    }

    // --- machines

    pub async fn machine_list(
        &self,
        of: &MachineFilter,
        slice: &Slice,
    ) -> Result<Answer<Page<MachineView>>, Error> {
        self.get("/v1/machines", &[of.query(), slice.query()].concat()).await
    }

    /// A call repeated with the same `key` is the same call; without one, a key is made up.
    pub async fn machine_create(
        &self,
        body: &MachineCreate,
        key: Option<&str>,
    ) -> Result<Answer<MachineCreated>, Error> {
        if body.ssh.is_some() {
            self.ensure_private()?;
        }
        Answer::parse(self.post("/v1/machines", body, key).await?)
    }

    pub async fn machine_get(&self, name: &MachineName) -> Result<Answer<MachineView>, Error> {
        self.get(&format!("/v1/machines/{name}"), &[]).await
    }

    pub async fn machine_patch(
        &self,
        name: &MachineName,
        patch: &MachinePatch,
    ) -> Result<Answer<MachineView>, Error> {
        let request = self.request(Method::PATCH, &format!("/v1/machines/{name}")).json(patch);
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    /// Takes it out of service; it goes once nothing is left on it. Nothing is answered when it has gone already.
    pub async fn machine_retire(&self, name: &MachineName) -> Result<Option<Answer<MachineView>>, Error> {
        let request = self.request(Method::DELETE, &format!("/v1/machines/{name}"));
        let reply = self.send(request.timeout(WAITING)).await?;
        if reply.text.is_empty() { Ok(None) } else { Answer::parse(reply).map(Some) }
    }

    /// What was taken away from it, the newest first.
    pub async fn cleaning_list(
        &self,
        name: &MachineName,
        slice: &Slice,
    ) -> Result<Answer<Page<CleaningView>>, Error> {
        self.get(&format!("/v1/machines/{name}/cleanings"), &slice.query()).await
    }

    /// Has a machine that does not get clean try again.
    pub async fn machine_clean(&self, name: &MachineName) -> Result<Answer<MachineView>, Error> {
        let request = self.request(Method::POST, &format!("/v1/machines/{name}/clean"));
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    /// Has a machine that is visited over SSH get an agent of its own, which dials this and knows it by this CA, in PEM.
    pub async fn machine_adopt(
        &self,
        name: &MachineName,
        server: &str,
        ca: Option<&str>,
    ) -> Result<Answer<MachineView>, Error> {
        let body = MachineAdopt { server: server.to_owned(), ca: ca.map(str::to_owned) };
        let request = self.request(Method::POST, &format!("/v1/machines/{name}/adopt")).json(&body);
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    pub async fn machine_release_agent(&self, name: &MachineName) -> Result<Answer<MachineView>, Error> {
        let request = self.request(Method::POST, &format!("/v1/machines/{name}/release-agent"));
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    // --- reservations

    pub async fn reservation_list(
        &self,
        of: &ReservationFilter,
        slice: &Slice,
    ) -> Result<Answer<Page<ReservationView>>, Error> {
        self.get("/v1/reservations", &[of.query(), slice.query()].concat()).await
    }

    /// A call repeated with the same `key` is the same call; without one, a key is made up.
    pub async fn reservation_create(
        &self,
        body: &ReservationCreate,
        key: Option<&str>,
    ) -> Result<Answer<ReservationView>, Error> {
        if body.password.is_some() {
            self.ensure_private()?;
        }
        Answer::parse(self.post("/v1/reservations", body, key).await?)
    }

    pub async fn reservation_get(&self, id: ReservationId) -> Result<Answer<ReservationView>, Error> {
        self.get(&format!("/v1/reservations/{id}"), &[]).await
    }

    /// Waits up to `wait` seconds until every machine knows the new end.
    pub async fn reservation_extend(
        &self,
        id: ReservationId,
        patch: &ReservationPatch,
        wait: u32,
    ) -> Result<Answer<ReservationView>, Error> {
        let request = self.request(Method::PATCH, &format!("/v1/reservations/{id}"));
        let request = request.query(&[("wait", wait)]).json(patch).timeout(WAITING);
        Answer::parse(self.send(request).await?)
    }

    /// Ends it now, and waits up to `wait` seconds until every machine is clean.
    pub async fn reservation_release(
        &self,
        id: ReservationId,
        wait: u32,
    ) -> Result<Answer<ReservationView>, Error> {
        let request = self.request(Method::DELETE, &format!("/v1/reservations/{id}"));
        Answer::parse(self.send(request.query(&[("wait", wait)]).timeout(WAITING)).await?)
    }

    pub async fn availability(&self, labels: &Labels) -> Result<Answer<Availability>, Error> {
        self.get("/v1/availability", &label_query(labels)).await
    }

    // --- pools

    pub async fn pool_list(&self) -> Result<Answer<Page<PoolView>>, Error> {
        self.get("/v1/pools", &[]).await
    }

    pub async fn pool_get(&self, name: &PoolName) -> Result<Answer<PoolView>, Error> {
        self.get(&format!("/v1/pools/{name}"), &[]).await
    }

    pub async fn pool_put(&self, name: &PoolName, pool: &PoolPut) -> Result<Answer<PoolView>, Error> {
        let request = self.request(Method::PUT, &format!("/v1/pools/{name}")).json(pool);
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    /// For a minute, believes its provider that machines are lost.
    pub async fn pool_accept_losses(&self, name: &PoolName) -> Result<Answer<PoolView>, Error> {
        let request = self.request(Method::POST, &format!("/v1/pools/{name}/accept-losses"));
        Answer::parse(self.send(request.timeout(QUICK)).await?)
    }

    // --- accounts and tokens

    pub async fn me(&self) -> Result<Answer<Me>, Error> {
        self.get("/v1/me", &[]).await
    }

    pub async fn me_patch(&self, patch: &AccountPatch) -> Result<Answer<AccountView>, Error> {
        self.ensure_private()?;
        self.ask(Method::PATCH, "/v1/me", patch).await
    }

    pub async fn log_in(&self, login: &Login) -> Result<Answer<LoggedIn>, Error> {
        self.ensure_private()?;
        self.ask(Method::POST, "/v1/login", login).await
    }

    /// Ends the token that this client shows.
    pub async fn log_out(&self) -> Result<(), Error> {
        self.delete("/v1/session", &[]).await
    }

    pub async fn account_create(&self, body: &AccountCreate) -> Result<Answer<AccountView>, Error> {
        self.ensure_private()?;
        self.ask(Method::POST, "/v1/accounts", body).await
    }

    pub async fn account_list(&self, slice: &Slice) -> Result<Answer<Page<AccountView>>, Error> {
        self.get("/v1/accounts", &slice.query()).await
    }

    pub async fn account_get(&self, name: &AccountName) -> Result<Answer<AccountView>, Error> {
        self.get(&format!("/v1/accounts/{name}"), &[]).await
    }

    pub async fn account_patch(
        &self,
        name: &AccountName,
        patch: &AccountPatch,
    ) -> Result<Answer<AccountView>, Error> {
        self.ensure_private()?;
        self.ask(Method::PATCH, &format!("/v1/accounts/{name}"), patch).await
    }

    pub async fn account_delete(&self, name: &AccountName, end_reservations: bool) -> Result<(), Error> {
        let end = if end_reservations { "true" } else { "false" };
        self.delete(&format!("/v1/accounts/{name}"), &[("end_reservations", end)]).await
    }

    pub async fn token_create(&self, body: &TokenCreate) -> Result<Answer<TokenCreated>, Error> {
        self.ask(Method::POST, "/v1/tokens", body).await
    }

    /// One's own, or those of an account.
    pub async fn token_list(&self, of: Option<&AccountName>) -> Result<Answer<Page<TokenView>>, Error> {
        let query = of.map(|name| ("account", name.to_string()));
        self.get("/v1/tokens", query.as_slice()).await
    }

    pub async fn token_revoke(&self, id: TokenId) -> Result<(), Error> {
        self.delete(&format!("/v1/tokens/{id}"), &[]).await
    }

    // --- events and the server itself

    pub async fn event_list(
        &self,
        of: &EventFilter,
        slice: &Slice,
    ) -> Result<Answer<Page<EventView>>, Error> {
        self.get("/v1/events", &[of.query(), slice.query()].concat()).await
    }

    /// Events as they happen: those after this one, or from now on.
    pub async fn event_stream(&self, of: &EventFilter, after: Option<i64>) -> Result<EventStream, Error> {
        let request = self.request(Method::GET, "/v1/events").query(&of.query());
        let request = request.header(ACCEPT, "text/event-stream");
        let request = match after {
            Some(after) => request.header("Last-Event-ID", after),
            None => request,
        };
        let late = || {
            let why = "it took too long; is the server overloaded?".to_owned();
            Error::Unreachable { url: self.base.clone(), why }
        };
        let response = tokio::time::timeout(QUICK, request.send()).await.map_err(|_| late())?;
        match response {
            Ok(response) if response.status().is_success() => Ok(EventStream::new(&self.base, response)),
            Ok(refused) => {
                let status = refused.status().as_u16();
                Err(Error::refused(status, &refused.text().await.unwrap_or_default()))
            }
            Err(failed) => Err(Error::unreachable(&self.base, &failed)),
        }
    }

    /// Who could log in on a machine at a time: now, if none is given.
    pub async fn could_log_in(
        &self,
        name: &MachineName,
        at: Option<Timestamp>,
    ) -> Result<Answer<Page<CouldLogIn>>, Error> {
        let query = at.map(|at| ("at", at.to_string()));
        self.get(&format!("/v1/machines/{name}/access"), query.as_slice()).await
    }

    pub async fn health(&self) -> Result<Answer<Health>, Error> {
        self.get("/healthz", &[]).await
    }

    pub async fn version(&self) -> Result<Answer<Version>, Error> {
        self.get("/v1/version", &[]).await
    }

    /// OpenMetrics text.
    pub async fn metrics(&self) -> Result<String, Error> {
        let reply = self.send(self.request(Method::GET, "/metrics").timeout(QUICK)).await?;
        Ok(reply.text)
    }

    // --- how a call is made

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<Answer<T>, Error> {
        Answer::parse(self.send(self.request(method, path).json(body).timeout(QUICK)).await?)
    }

    async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<(), Error> {
        let request = self.request(Method::DELETE, path).query(query).timeout(QUICK);
        self.send(request).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<Answer<T>, Error> {
        let request = self.request(Method::GET, path).query(query).timeout(QUICK);
        Answer::parse(self.send(request).await?)
    }

    /// Tried anew when the connection fails: the server answers a key it knows as it did the first time.
    async fn post(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        key: Option<&str>,
    ) -> Result<Reply, Error> {
        let key = key.map(str::to_owned).map_or_else(random_key, Ok)?;
        let request = || {
            let request = self.request(Method::POST, path).header("Idempotency-Key", &key);
            request.json(body).timeout(WAITING)
        };
        for pause in PAUSES {
            match exchange(request()).await {
                // After a time-out the server may still be at work: asking again would only add to it.
                Err(failed) if !failed.is_timeout() || failed.is_connect() => tokio::time::sleep(pause).await,
                done => return self.judge(done),
            }
        }
        self.send(request()).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, Error> {
        self.judge(exchange(request).await)
    }

    fn judge(&self, done: Result<Reply, reqwest::Error>) -> Result<Reply, Error> {
        match done {
            Ok(reply) if reply.status.is_success() => Ok(reply),
            Ok(reply) => Err(Error::refused(reply.status.as_u16(), &reply.text)),
            Err(failed) if failed.is_builder() => {
                Err(Error::Odd(format!("no such call can be made: {failed}")))
            }
            Err(failed) => Err(Error::unreachable(&self.base, &failed)),
        }
    }
}

/// Whether nobody on the way can read along: secrets are sent there only.
pub fn is_private_enough(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    server.scheme() == "https" || is_loopback
}

fn parsed(base_url: &str) -> Result<Url, Error> {
    let url = Url::parse(base_url).map_err(|why| Error::Odd(format!("`{base_url}` is no address: {why}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(Error::Odd(format!("`{base_url}`: use `https://`, or `http://` on this computer"))),
    }
}

/// A whole response, before anybody has judged it.
pub(crate) struct Reply {
    status: StatusCode,
    pub(crate) text: String,
    /// The `Date` header, as it came.
    pub(crate) date: Option<String>,
}

impl Reply {
    pub(crate) fn of_text(text: String) -> Self {
        Self { status: StatusCode::OK, text, date: None }
    }
}

async fn exchange(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status();
    let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
    Ok(Reply { status, date, text: response.text().await? })
}

fn random_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|why| Error::Odd(format!("no random numbers: {why}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}
