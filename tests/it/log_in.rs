//! What log-ins cost, measured when asked for only: whether the time of a refusal tells that there is such an account,
//! and whether many log-ins keep others waiting.

#![allow(clippy::print_stdout, reason = "the figures are what they show")]

use serde_json::json;
use std::time::{Duration, Instant};
use tests::real::RealFarm;
use tests::{Database, Farm};

#[allow(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

/// Of two samples, how probable it is that one of the first is larger than one of the second, and how many standard errors
/// that is from a half (Mann and Whitney).
fn compared(first: &[f64], second: &[f64]) -> (f64, f64) {
    let pairs = (first.len() * second.len()) as f64;
    let above = |x: &f64| {
        second.iter().map(|y| if x > y { 1.0 } else { f64::from(u8::from(x == y)) / 2.0 }).sum::<f64>()
    };
    let larger = first.iter().map(above).sum::<f64>() / pairs;
    let error = ((first.len() + second.len() + 1) as f64 / (12.0 * pairs)).sqrt();
    (larger, (larger - 0.5) / error)
}

fn quantile(samples: &[f64], of: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * of).round() as usize]
}

#[test]
fn samples_are_told_apart_if_they_differ() {
    let (low, high): (Vec<f64>, Vec<f64>) = (0..1000).map(|n| (f64::from(n), f64::from(n + 150))).unzip();
    assert_eq!(compared(&low, &low), (0.5, 0.0));
    let (larger, errors) = compared(&high, &low);
    assert!(larger > 0.6 && errors > 9.0, "{larger} {errors}");
    assert_eq!((quantile(&low, 0.5), quantile(&low, 0.99)), (500.0, 989.0));
}

/// At the lowest cost of bcrypt, where whatever else differs shows most.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures real time: `just log-ins`"]
async fn a_refusal_tells_nobody_whether_there_is_such_an_account() {
    const SAMPLES: usize = 1000;
    let mut farm = Farm::new(Database::Sqlite).await;
    farm.lock().await;
    let http = reqwest::Client::new();
    let refused = async |account: &str| {
        // So long after the last failure that it counts no more.
        farm.clock.advance(Duration::from_secs(24 * 3600));
        let body = json!({"account": account, "password": "not the right one"}).to_string();
        let request = http.post(format!("{}/v1/login", farm.url())).body(body);
        let began = now();
        let answer = request.send().await.unwrap();
        let took = began.elapsed().as_secs_f64() * 1e6;
        assert_eq!(answer.status(), 401);
        answer.bytes().await.unwrap();
        took
    };
    for _ in 0..50 {
        refused("root").await;
    }
    let (mut wrong, mut unknown) = (vec![], vec![]);
    for sample in 0..SAMPLES {
        let nobody = format!("n{sample:03}");
        // Neither is always the first.
        if sample % 2 == 0 {
            wrong.push(refused("root").await);
            unknown.push(refused(&nobody).await);
        } else {
            unknown.push(refused(&nobody).await);
            wrong.push(refused("root").await);
        }
    }
    let (larger, errors) = compared(&unknown, &wrong);
    for (what, took) in [("wrong password", &wrong), ("unknown account", &unknown)] {
        let [first, median, third] = [0.25, 0.5, 0.75].map(|of| quantile(took, of));
        println!("{what}: {SAMPLES} refusals, median {median:.0} µs (half of them {first:.0} to {third:.0})");
    }
    println!(
        "an unknown account takes longer in {:.1} % of pairs, {errors:+.1} standard errors from half",
        larger * 100.0
    );
    assert!(errors.abs() < 3.5, "they can be told apart");
    // The log-in of the beginning is long over.
    let root = farm.log_in("root", tests::farm::ADMIN).await.unwrap();
    farm.admit(&root);
}

/// 200 at once, again and again, while somebody asks for the machines.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures real time: `just log-ins`"]
async fn two_hundred_log_ins_at_once_keep_nobody_waiting() {
    const LASTS: Duration = Duration::from_secs(20);
    let farm = RealFarm::start_with("release", &["--requests-per-second", "1000000"]).await;
    let url = format!("http://{}", farm.address);
    let account = json!({"name": "root", "password": "long enough", "role": "admin"});
    assert_eq!(farm.send("POST", "/v1/accounts", &account).await.0, 201);
    let (_, told) =
        farm.send("POST", "/v1/login", &json!({"account": "root", "password": "long enough"})).await;
    let http = tests::farm::by(told["token"].as_str().unwrap());
    let began = now();
    let log_ins = (0..200).map(|number| {
        let (http, url) = (reqwest::Client::new(), url.clone());
        tokio::spawn(async move {
            let (mut tried, mut checked) = (0, 0);
            while began.elapsed() < LASTS {
                let body = json!({"account": format!("n{number}-{tried}"), "password": "not the right one"});
                let answer =
                    http.post(format!("{url}/v1/login")).body(body.to_string()).send().await.unwrap();
                tried += 1;
                checked += u32::from(answer.status() == 401);
            }
            (tried, checked)
        })
    });
    let log_ins: Vec<_> = log_ins.collect();
    let mut took = vec![];
    while began.elapsed() < LASTS {
        let asked_at = now();
        assert!(http.get(format!("{url}/v1/machines")).send().await.unwrap().status().is_success());
        took.push(asked_at.elapsed().as_secs_f64() * 1e3);
    }
    let (mut tried, mut checked) = (0, 0);
    for log_in in log_ins {
        let (one_tried, one_checked) = log_in.await.unwrap();
        (tried, checked) = (tried + one_tried, checked + one_checked);
    }
    let [median, p99, slowest] = [0.5, 0.99, 1.0].map(|of| quantile(&took, of));
    println!(
        "200 at a time for {} s: {tried} log-ins, {checked} of them checked and the others told to wait; {} requests of \
         another meanwhile: p50 {median:.1} ms, p99 {p99:.1} ms, slowest {slowest:.1} ms",
        LASTS.as_secs(),
        took.len()
    );
    assert!(p99 < 200.0, "p99 is {p99:.0} ms");
}
