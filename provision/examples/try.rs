#![allow(clippy::all, clippy::disallowed_methods, clippy::print_stdout)]
use model::*;
use provision::*;
use std::process::Command;
#[tokio::main]
async fn main() {
    let at = |s| Timestamp::from_second(s).unwrap();
    let epoch = Epoch::new(at(5));
    let args: Vec<String> = std::env::args().collect();
    let docker = Docker::connect(epoch, args[1].clone().into(), args[2].clone().into()).unwrap();
    let order = |name: &str, image: &str| Order { id: MachineId::new(at(7)), name: name.parse().unwrap(), pool: "pp".parse().unwrap(), image: image.into(), join_token: "tok".into() };
    let pool: PoolName = "pp".parse().unwrap();
    let half = |o: &Order, port: u16| { let out = Command::new("docker").args(["create", "--name", &format!("berth-{}", o.name), "-p", &format!("127.0.0.1:{port}:22"),
        "--label", &format!("io.berth.owner={epoch}"), "--label", &format!("io.berth.machine={}", o.id), "--label", "io.berth.pool=pp", "--label", &format!("io.berth.port={port}"), "berth-alpine"]).output().unwrap(); assert!(out.status.success(), "{out:?}") };
    let a = order("h1", "berth-alpine"); half(&a, 2240);
    println!("unstarted listed {:?}", docker.list_owned(&pool).await);
    println!("adopted {:?}", docker.create(&a).await);
    let b = order("h2", "berth-alpine"); half(&b, 2241);
    let blocker = std::net::TcpListener::bind("127.0.0.1:2241").unwrap();
    println!("adopted with a port in use {:?}", docker.create(&b).await);
    let c = order("h3", "berth-debian");
    println!("third {:?}", docker.create(&c).await);
    Command::new("docker").args(["stop", "berth-h1"]).output().unwrap();
    let blocker2 = std::net::TcpListener::bind("127.0.0.1:2240").unwrap();
    println!("stopped, its port in use {:?}", docker.create(&a).await);
    println!("listed {:?}", docker.list_owned(&pool).await.map(|l| l.len()));
    Command::new("sh").args(["-c", &args[3]]).status().unwrap();
    for o in [&a, &b, &c] { println!("destroy {:?}", docker.destroy(o.id).await); }
    drop((blocker, blocker2));
}
