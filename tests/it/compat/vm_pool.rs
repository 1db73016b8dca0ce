//! The VM pool with check-out and check-in.

use crate::on_both_databases;
use model::wire::SeatView;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use server::app::VmPool;
use std::time::Duration;
use tests::real::{By, RealFarm, ssh};
use tests::{Database, Farm, has_account, ours};

on_both_databases!(
    the_collection_in_its_natural_order,
    a_vm_in_use_is_never_taken_away,
    a_vm_that_fails_is_nobodys,
    a_quota_of_hours_is_used_up_bit_by_bit,
);

const ADA: &str = "admin123";
const BEN: &str = "benpass";

/// Its clients, at the address of a server.
struct Clients {
    url: String,
    http: Client,
}

impl Clients {
    fn of(url: &str) -> Self {
        Self { url: url.to_owned(), http: Client::new() }
    }

    /// As whoever the body names.
    async fn send(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.request(method, path, body, None).await
    }

    /// As the admin of the URL.
    async fn get(&self, path: &str) -> (u16, Value) {
        self.request(Method::GET, path, Value::Null, Some(("ada@example.org", ADA))).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Value,
        basic: Option<(&str, &str)>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some((name, password)) = basic {
            request = request.basic_auth(name, Some(password));
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let text = answer.text().await.unwrap();
        assert_eq!(kind, "application/json", "{path}: {text}");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, body).await
    }

    /// Two users, and a pool of so many.
    async fn begin(&self, size: u32) {
        let truncated = self.send(Method::GET, "/truncate_tables", Value::Null).await;
        assert_eq!(truncated, (201, json!({"message": "Tables Created"})));
        let early = self.post("/create_resource_pool", json!({"auth": ada(), "pool_size": "4"})).await;
        assert_eq!(early, (400, json!({"message": "Please create user first."})));
        let created = (201, json!({"message": "User Created."}));
        let first = json!({"name": "Ada Admin", "email": "ada@example.org", "password": ADA});
        assert_eq!(self.post("/user", first).await, created);
        let second = json!({"auth": ada(), "name": "Ben", "email": "ben@example.org", "password": BEN, "role": "user"});
        assert_eq!(self.post("/user", second).await, created);
        let pool = self.post("/create_resource_pool", json!({"auth": ada(), "pool_size": size.to_string()}));
        assert_eq!(pool.await, (201, json!({"message": "Resources Created."})));
    }
}

fn ada() -> Value {
    json!({"userid": 1, "password": ADA})
}

fn ben() -> Value {
    json!({"userid": 2, "password": BEN})
}

fn refused() -> (u16, Value) {
    (401, json!({"Message": "Authentication or Authorization failed"}))
}

fn message(status: u16, says: &str) -> (u16, Value) {
    (status, json!({"message": says}))
}

async fn the_collection_in_its_natural_order(mut farm: Farm) {
    let running = farm.clock.walk();
    collection(&Clients::of(farm.url()), 4, 3).await;
    drop(running);
    let ada = farm.log_in("ada-admin", ADA).await.unwrap();
    farm.admit(&ada);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collection_with_seventy_pretend_machines() {
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.kill_server().await;
    farm.vm_pool = VmPool::default();
    farm.start_server(None);
    let running = farm.clock.walk();
    collection(&Clients::of(farm.url()), 70, 10).await;
    drop(running);
    let ada = farm.log_in("ada-admin", ADA).await.unwrap();
    farm.admit(&ada);
}

/// On containers, where the account's own password opens the VM.
#[tokio::test(flavor = "multi_thread")]
async fn the_collection_with_real_containers() {
    let farm = RealFarm::start_with("debug", &["--bcrypt-cost", "10"]).await;
    let clients = Clients::of(&format!("http://{}", farm.address));
    collection(&clients, 4, 3).await;
    let (status, out) = clients.post("/checkout_vm", json!({"auth": ada()})).await;
    assert_eq!(status, 201, "{out} {}", farm.log());
    let machine =
        clients.get(&format!("/v1/machines/{}", out["VM Details"]["hostname"].as_str().unwrap())).await.1;
    let seat = |uid| SeatView {
        name: machine["name"].as_str().unwrap().parse().unwrap(),
        host: machine["host"].as_str().unwrap().to_owned(),
        port: machine["port"].as_u64().unwrap() as u16,
        uid,
        phase: model::phase::Phase::Ready,
        in_sync: true,
        ready_at: None,
        cleaned_at: None,
        ends_by: None,
        error: None,
    };
    let inside = ssh(
        &seat(0),
        "ada-admin",
        &By::Password(ADA),
        "id -un; cat /sys/fs/cgroup/memory/memory.limit_in_bytes",
    );
    let printed = String::from_utf8_lossy(&inside.stdout).into_owned();
    let memory = match out["VM Details"]["vm type"].as_str() {
        Some("small") => 512 << 20,
        Some("medium") => 1024 << 20,
        Some("large") => 4096_i64 << 20,
        other => panic!("{other:?}"),
    };
    assert_eq!(printed, format!("ada-admin\n{memory}\n"), "{inside:?}");
    let emptied =
        clients.request(Method::GET, "/truncate_tables", Value::Null, Some(("ada@example.org", ADA))).await;
    assert_eq!(emptied.0, 201);
    assert_eq!(clients.get("/vmdetails").await, (200, json!({"VM_details": "[]"})));
}

/// The whole of it, as a collection of requests has it; `size` machines, then `fewer`.
async fn collection(clients: &Clients, size: u32, fewer: u32) {
    clients.begin(size).await;
    users(clients).await;
    sizes(clients, size, fewer).await;
    details(clients, fewer).await;
    out_and_in(clients, fewer).await;
    the_end_of_a_user(clients, fewer).await;
}

async fn users(clients: &Clients) {
    let bens = |email: &str| json!({"auth": ada(), "name": "Ben", "email": email, "password": "x"});
    let taken = "User with same email already exist,User is not created.";
    assert_eq!(clients.post("/user", bens("ben@example.org")).await, message(400, taken));
    let nobody = json!({"name": "Eve", "email": "eve@example.org", "password": "x"});
    assert_eq!(clients.post("/user", nobody.clone()).await, message(400, "auth parameters missing"));
    let with = |auth: Value| {
        let mut body = nobody.clone();
        body["auth"] = auth;
        body
    };
    assert_eq!(clients.post("/user", with(ben())).await, refused());
    assert_eq!(clients.post("/user", with(json!({"userid": 1, "password": "wrong"}))).await, refused());
    for (bad, says) in [
        (json!({"auth": ada(), "email": "a@b.c", "password": "x"}), "give `name`"),
        (json!({"auth": ada(), "name": "A", "email": "no mail", "password": "x"}), "email"),
        (json!({"auth": ada(), "name": "A", "email": "a@b.c", "password": ""}), "password"),
        (json!({"auth": {"userid": "x", "password": "y"}}), "auth.userid"),
        (json!({"auth": 7}), "auth"),
    ] {
        let (status, answer) = clients.post("/user", bad.clone()).await;
        assert_eq!(status, 400, "{bad} {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{bad} {answer}");
    }
    let row = |id: u32, name: &str, email: &str| json!({"email": email, "id": id, "name": name});
    let (first, second) = (row(1, "Ada Admin", "ada@example.org"), row(2, "Ben", "ben@example.org"));
    let all = json!({"User_Details": {"1": first, "2": second}});
    assert_eq!(clients.get("/user").await, (200, all));
    assert_eq!(clients.get("/user/id/2").await, (200, json!({"User_Details": {"2": second}})));
    assert_eq!(
        clients.get("/user/email/ada@example.org").await,
        (200, json!({"User_Details": {"1": first}}))
    );
    assert_eq!(clients.get("/user/id/77").await, (200, json!({"User_Details": "[]"})));
    let as_ben = clients.request(Method::GET, "/user", Value::Null, Some(("ben", BEN))).await;
    assert_eq!(as_ben, (200, json!({"User_Details": {"2": second}})), "others are not his to see");
    let unknown = clients.request(Method::GET, "/user", Value::Null, None).await;
    assert_eq!(unknown, refused());
}

async fn sizes(clients: &Clients, size: u32, fewer: u32) {
    let stats = |free: u32, total: u32| {
        json!({"Pool Stats": {"VM_under_maintenance_in_Pool": 0, "allocated_VM_in_Pool": 0,
            "free_VM_in_pool": free, "total_VM_count_in_pool": total.to_string()}})
    };
    assert_eq!(clients.get("/create_resource_pool/basicstats").await, (200, stats(size, size)));
    let resize = async |auth: Value, to: Value| {
        clients.post("/resizevmpool", json!({"auth": auth, "pool_size": to})).await
    };
    assert_eq!(resize(ben(), json!(1)).await, refused());
    assert_eq!(resize(ada(), json!(size)).await, message(200, "Nothing to Update"));
    for bad in [json!(0), json!("many"), json!(-1), json!(10_001), Value::Null] {
        let (status, answer) = resize(ada(), bad.clone()).await;
        assert!(status == 400 && answer["message"].as_str().unwrap().contains("pool_size"), "{bad} {answer}");
    }
    assert_eq!(resize(ada(), json!(fewer.to_string())).await, message(200, "Pool size updated successfully"));
    assert_eq!(clients.get("/vmpoolsize").await, (200, json!({"vm pool size": fewer.to_string()})));
    assert_eq!(clients.get("/create_resource_pool/basicstats").await, (200, stats(fewer, fewer)));
    let again = clients.post("/create_resource_pool", json!({"auth": ada(), "pool_size": fewer})).await;
    assert_eq!(again, message(201, "Pool resources recreated."));
}

async fn ids(clients: &Clients, path: &str) -> Vec<String> {
    let (status, answer) = clients.get(path).await;
    assert_eq!(status, 200, "{path} {answer}");
    let details = &answer["VM_details"];
    assert!(details.is_object() || details == "[]", "{answer}");
    let mut ids: Vec<u32> =
        details.as_object().into_iter().flatten().map(|(id, _)| id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids.iter().map(ToString::to_string).collect()
}

async fn details(clients: &Clients, fewer: u32) {
    let all: Vec<_> = (1..=fewer).map(|id| id.to_string()).collect();
    assert_eq!(ids(clients, "/vmdetails").await, all, "the highest went first");
    let one = clients.get("/vmdetails/id/2").await.1["VM_details"]["2"].take();
    let date = one["date_created"].as_str().unwrap();
    assert!(date.ends_with(" 00:00:00 GMT") && date.as_bytes()[3] == b',', "{date}");
    let expected = json!({"date_created": date, "id": 2, "vm_Status": "running", "vm_ip": one["vm_ip"],
        "vm_map_to": "idle", "vm_name": "vmpool-2", "vm_type": "medium"});
    assert_eq!(one, expected);
    assert_eq!(ids(clients, "/vmdetails/id/999").await, [""; 0]);
    let of_type = |number: usize| all.iter().skip(number).step_by(4).cloned().collect::<Vec<_>>();
    assert_eq!(ids(clients, "/vmdetails/type/Small").await, of_type(0));
    assert_eq!(ids(clients, "/vmdetails/type/xlarge").await, of_type(3));
    assert_eq!(ids(clients, "/vmdetails/status/RUNNING").await, all);
    assert_eq!(ids(clients, "/vmdetails/status/stopped").await, [""; 0]);
    assert_eq!(ids(clients, "/vmdetails/maped_to/idle").await, all);
    let types = clients.get("/vmdetails/types/all").await.1;
    assert_eq!(types["VM_Types"]["xlarge"], json!({"cpu": "2 x 8 core", "memory": "128 GB"}));
    assert_eq!(types["VM_Types"]["small"], json!({"cpu": "2 core", "memory": "8 GB"}));
    assert_eq!(clients.get("/vmdetails/id/0").await.0, 404);
}

async fn out_and_in(clients: &Clients, fewer: u32) {
    let out = async |auth: Value, vmid: Value| {
        clients.post("/checkout_vm", json!({"auth": auth, "vmid": vmid})).await
    };
    let (status, got) = out(ben(), json!(2)).await;
    assert_eq!(status, 201, "{got}");
    let vm = json!({"hostname": "vmpool-2", "ip-address": got["VM Details"]["ip-address"], "vm type": "medium", "vm-Id": 2});
    let user = json!({"User-name": "Ben", "user-Id": 2, "user-email": "ben@example.org"});
    assert_eq!(got, json!({"User Details": user, "VM Details": vm, "message": "VM checkout complete."}));
    let taken = "VM not available for use,Please select another VM.";
    assert_eq!(out(ada(), json!("2")).await, message(400, taken));
    assert_eq!(out(ada(), json!(99)).await, message(400, "Invalid VM"));
    assert_eq!(out(json!({"userid": 99, "password": "x"}), json!(1)).await, message(400, "Invalid User"));
    assert_eq!(out(json!({"userid": 2, "password": "x"}), json!(1)).await, refused());
    let (status, got) = clients.post("/checkout_vm", json!({"auth": ada()})).await;
    assert_eq!(
        (status, &got["VM Details"]["vm-Id"]),
        (201, &json!(1)),
        "the first registered is the first given"
    );

    let owned = clients.get("/checkout_vm/user/2").await;
    assert_eq!(owned, (201, json!({"User Details": user, "VM owned by user": {"2": vm}})));
    let owner = clients.get("/checkout_vm/vm/2").await;
    assert_eq!(owner, (201, json!({"User Details": user, "VM owner Details": vm})));
    assert_eq!(clients.get("/checkout_vm/user/99").await, (400, json!({"VM owned by user": "[]"})));
    assert_eq!(clients.get("/checkout_vm/vm/3").await, (400, json!({"VM owner Details": "[]"})));
    assert_eq!(ids(clients, "/vmdetails/maped_to/ben@example.org").await, ["2"]);
    let as_ben = clients.request(Method::GET, "/vmdetails/id/1", Value::Null, Some(("ben", BEN))).await.1;
    assert_eq!(as_ben["VM_details"]["1"]["vm_map_to"], "reserved", "whose it is, is not his to see");
    let small = clients.post("/resizevmpool", json!({"auth": ada(), "pool_size": 1})).await;
    assert_eq!(small, message(400, "Cannot resize as , currently in used VM > expected pool resize value"));
    let removed = clients.send(Method::DELETE, "/vmdetails/id/2", json!({"auth": ada()})).await;
    assert_eq!(removed, (401, json!({"Message": "Cannot delete VM which is use."})));

    let within = |path: &'static str, auth: Value| clients.post(path, json!({"auth": auth, "vmid": 2}));
    assert_eq!(within("/checkin_vm", ada()).await, refused(), "not the owner");
    let mut apart = vm.clone();
    apart["VM tagged to"] = json!("maintenance");
    let complete = json!({"VM Details": apart, "message": "VM checkin complete."});
    assert_eq!(within("/checkin_vm", ben()).await, (201, complete));
    assert_eq!(within("/checkin_vm", ben()).await, refused(), "it is his no longer");
    assert_eq!(out(ben(), json!(2)).await, message(400, taken));
    let kept = clients.get("/maintenance").await;
    assert_eq!((kept.0, &kept.1["Maintenance_VM_details"]["2"]["vm_map_to"]), (200, &json!("maintenance")));
    assert_eq!(within("/maintenance", ben()).await, refused());
    let ready = json!({"VM Details": vm, "message": "VM ready to use and available in pool."});
    assert_eq!(within("/maintenance", ada()).await, (201, ready));
    assert_eq!(within("/maintenance", ada()).await, refused(), "it is not in maintenance");
    assert_eq!(clients.get("/maintenance").await, (400, json!({"Maintenance_VM_details": "[]"})));

    for _ in 1..fewer {
        let (status, got) = clients.post("/checkout_vm", json!({"auth": ben()})).await;
        assert_eq!(status, 201, "{got}");
    }
    let left = "No VM's are available in pool for checkout.Please retry after some time.";
    assert_eq!(clients.post("/checkout_vm", json!({"auth": ben()})).await, message(400, left));
}

async fn the_end_of_a_user(clients: &Clients, fewer: u32) {
    let patch = async |body: Value| clients.send(Method::PATCH, "/user", body).await;
    let done = (200, json!({"Message": "Update done"}));
    let no = (400, json!({"Message": "Authentication or Authorization failed"}));
    assert_eq!(patch(json!({"auth": ben(), "id": 1, "name": "Not Ada"})).await, no);
    assert_eq!(patch(json!({"auth": {"userid": 2, "password": "x"}, "id": 2, "name": "B"})).await, no);
    let token = clients.post("/v1/login", json!({"account": "ben", "password": BEN})).await.1;
    let by_token = async |body: Value| {
        let request = clients.http.patch(format!("{}/user", clients.url)).body(body.to_string());
        request.bearer_auth(token["token"].as_str().unwrap()).send().await.unwrap().status().as_u16()
    };
    for lets_in in [json!({"id": 2, "password": "stolen"}), json!({"id": 2, "email": "eve@example.org"})] {
        assert_eq!(by_token(lets_in).await, 400, "a token is not to become a password");
    }
    assert_eq!(by_token(json!({"id": 2, "name": "Ben B."})).await, 200);
    assert_eq!(patch(json!({"auth": ben(), "id": 2, "email": "benno@example.org"})).await, done);
    let owner = clients.get("/checkout_vm/vm/2").await.1;
    assert_eq!(owner["User Details"]["user-email"], "benno@example.org", "it is still his");
    assert_eq!(patch(json!({"auth": ada(), "id": 2, "name": "Benno", "password": "new"})).await, done);
    let new = json!({"userid": 2, "password": "new"});
    assert_eq!(clients.post("/checkin_vm", json!({"auth": ben(), "vmid": 2})).await, refused());

    let delete =
        async |path: &str, auth: Value| clients.send(Method::DELETE, path, json!({"auth": auth})).await;
    assert_eq!(delete("/user/id/1", ada()).await, message(400, "User self delete not allowed"));
    assert_eq!(delete("/user/id/1", new.clone()).await, refused());
    assert_eq!(delete("/user/id/99", ada()).await, message(400, "Invalid User"));
    assert_eq!(delete("/user/id/2", ada()).await, (200, json!({"Message": "Record Deleted"})));
    assert_eq!(clients.get("/checkout_vm/user/2").await, (400, json!({"VM owned by user": "[]"})));
    assert_eq!(clients.post("/checkout_vm", json!({"auth": new})).await, message(400, "Invalid User"));

    // Clean again, and nobody's: of the last one the pool can do without.
    let last = format!("/vmdetails/id/{fewer}");
    let mut removed = (401, Value::Null);
    for _ in 0..1000 {
        removed = delete(&last, ada()).await;
        if removed.0 == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(removed, (200, json!({"Message": "VM deleted"})));
    assert_eq!(delete(&last, ada()).await, message(400, "Invalid VM."));
    assert_eq!(clients.get("/vmpoolsize").await, (200, json!({"vm pool size": (fewer - 1).to_string()})));
}

/// While there is no account everybody on this computer may look, and there is nobody to check anything out.
#[tokio::test(flavor = "multi_thread")]
async fn before_there_is_anybody() {
    let farm = Farm::new(Database::Sqlite).await;
    let clients = Clients::of(farm.url());
    let look = |path: &'static str| clients.send(Method::GET, path, Value::Null);
    assert_eq!(look("/user").await, (200, json!({"User_Details": "[]"})));
    assert_eq!(look("/vmdetails").await, (200, json!({"VM_details": "[]"})));
    assert_eq!(look("/vmpoolsize").await, (200, json!({"vm pool size": "0"})));
    assert_eq!(look("/maintenance").await, (400, json!({"Maintenance_VM_details": "[]"})));
    assert_eq!(look("/checkout_vm/user/1").await, (400, json!({"VM owned by user": "[]"})));
    assert_eq!(look("/truncate_tables").await, message(201, "Tables Created"));
    assert_eq!(clients.post("/checkout_vm", json!({"auth": ada()})).await, message(400, "Invalid User"));
    assert_eq!(
        clients.post("/resizevmpool", json!({"pool_size": 4})).await,
        message(400, "Please create pool first.")
    );
    let (status, wrong) = clients.send(Method::PUT, "/checkout_vm", Value::Null).await;
    assert!(status == 405 && wrong["message"].as_str().unwrap().contains("method"), "{wrong}");
    let (status, wrong) = clients.send(Method::GET, "/vmdetails/id/%00", Value::Null).await;
    assert!(status == 404 && wrong["message"].is_string(), "{wrong}");
}

async fn a_vm_in_use_is_never_taken_away(mut farm: Farm) {
    let running = farm.clock.walk();
    let clients = Clients::of(farm.url());
    clients.begin(4).await;
    let highest = clients.post("/checkout_vm", json!({"auth": ben(), "vmid": 4})).await;
    assert_eq!(highest.0, 201, "{highest:?}");
    let host = |name: &str| farm.hosts().into_iter().find(|(known, _)| known == name).unwrap().1;
    assert!(has_account(&host("vmpool-4"), "ben"));
    let resized = clients.post("/resizevmpool", json!({"auth": ada(), "pool_size": 1})).await;
    assert_eq!(resized, message(200, "Pool size updated successfully"));
    assert_eq!(ids(&clients, "/vmdetails").await, ["4"]);
    assert!(has_account(&host("vmpool-4"), "ben"), "whoever has it keeps it");

    let host = host("vmpool-4");
    let returned = clients.post("/checkin_vm", json!({"auth": ben(), "vmid": 4})).await;
    assert_eq!(returned.0, 201, "{returned:?}");
    assert!(ours(&host).is_empty(), "the account is gone when the answer comes");
    let apart = clients.post("/resizevmpool", json!({"auth": ada(), "pool_size": 2})).await;
    assert_eq!(apart.0, 200, "{apart:?}");
    let fewer = clients.post("/resizevmpool", json!({"auth": ada(), "pool_size": 1})).await;
    assert_eq!(fewer.0, 200, "{fewer:?}");
    assert_eq!(ids(&clients, "/vmdetails").await, ["4"], "what is in maintenance counts as used");
    drop(running);
    let ada = farm.log_in("ada-admin", ADA).await.unwrap();
    farm.admit(&ada);
}

/// Whoever gets another VM in the place of one that failed has that one, and no other.
async fn a_vm_that_fails_is_nobodys(mut farm: Farm) {
    let walking = farm.clock.walk();
    let clients = Clients::of(farm.url());
    clients.begin(2).await;
    drop(walking);
    farm.yard.stop_agent("vmpool-1");
    let running = farm.clock.run();
    let (status, got) = clients.post("/checkout_vm", json!({"auth": ben()})).await;
    assert_eq!((status, &got["VM Details"]["vm-Id"]), (201, &json!(2)), "{got}");
    assert_eq!(ids(&clients, "/vmdetails/maped_to/ben@example.org").await, ["2"]);
    let failed = clients.post("/checkin_vm", json!({"auth": ben(), "vmid": 1})).await;
    assert_eq!(failed, refused(), "it is not his");
    let returned = clients.post("/checkin_vm", json!({"auth": ben(), "vmid": 2})).await;
    assert_eq!(returned.0, 201, "{returned:?}");
    drop(running);
    farm.yard.lose("vmpool-1");
    farm.admit(&farm.log_in("ada-admin", ADA).await.unwrap());
}

/// Its clients cannot ask for less than all they may have.
async fn a_quota_of_hours_is_used_up_bit_by_bit(mut farm: Farm) {
    let walking = farm.clock.walk();
    let clients = Clients::of(farm.url());
    clients.begin(1).await;
    farm.admit(&farm.log_in("ada-admin", ADA).await.unwrap());
    let patch = farm.http.patch(format!("{}/v1/accounts/ben", farm.url()));
    let quota = json!({"quota": {"hours_per_week": 2}}).to_string();
    assert_eq!(patch.body(quota).send().await.unwrap().status(), 200);
    let settings = json!({"provider": "docker", "image": "x", "size": 1, "labels": {"room": "b1"}});
    let put = farm.http.put(format!("{}/v1/pools/vmpool", farm.url())).body(settings.to_string());
    assert_eq!(put.send().await.unwrap().status(), 200);
    for round in 0..3 {
        let (status, got) = clients.post("/checkout_vm", json!({"auth": ben(), "vmid": 1})).await;
        assert_eq!(status, 201, "{round}: {got}");
        farm.clock.advance(Duration::from_secs(90));
        assert_eq!(clients.post("/checkin_vm", json!({"auth": ben(), "vmid": 1})).await.0, 201);
        assert_eq!(clients.post("/maintenance", json!({"auth": ada(), "vmid": 1})).await.0, 201);
    }
    let resized = clients.post("/resizevmpool", json!({"auth": ada(), "pool_size": 2})).await;
    assert_eq!(resized.0, 200, "{resized:?}");
    assert_eq!(farm.get("/v1/pools/vmpool").await["labels"]["room"], "b1", "what else was set of it stays");
    drop(walking);
}
