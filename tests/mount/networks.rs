//! Networks that are worse than slow: boxes on the way that swallow, or take less than the server.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{MIB, Single};
use crate::harness::api::Api;
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

/// nginx in front of a server, with its own limits.
struct Nginx {
    port: u16,
    child: Child,
}

impl Nginx {
    fn start(directory: &Path, server: &str, limits: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let home = directory.join("nginx");
        fs::create_dir_all(&home).unwrap();
        let configuration = format!(
            "pid {home}/pid; events {{}} http {{ client_body_temp_path {home}; proxy_temp_path {home}; \
             fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home}; access_log off; \
             server {{ listen 127.0.0.1:{port}; {limits} location / {{ proxy_pass {server}; }} }} }}",
            home = home.display(),
        );
        fs::write(home.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-g", "daemon off;", "-p"]).arg(&home);
        command.arg("-c").arg(home.join("nginx.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let nginx = Self { port, child: command.spawn().unwrap() };
        wait_until("the proxy answers", seconds(20), || {
            Api::new(&nginx.url()).try_get("/readyz").is_ok_and(|answer| answer.status == 200)
        });
        nginx
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    /// The master ends its workers when it is asked, not when it is killed.
    fn drop(&mut self) {
        let _it_may_have_ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _it_may_have_been_waited_for = self.child.wait();
    }
}

#[test]
fn a_proxy_that_takes_small_bodies_only_gets_smaller_batches() {
    let fixture = Single::new();
    let limits = "client_max_body_size 5m;";
    let nginx = Nginx::start(fixture.directory.path(), &fixture.server.url(), limits);
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", &nginx.url(), "ada").expect_success();
    two.mount();
    let seed = Seed::of_this_run();
    for number in 0..16 {
        let bytes = seed.bytes(&format!("{number}"), MIB as usize);
        fs::write(two.path(&format!("{number}")), bytes).unwrap();
    }
    two.sync();
    assert!(fixture.server.content_bytes_received() >= 16 * MIB);
}

#[test]
fn from_a_server_that_does_not_give_contents_together_small_files_come_one_by_one() {
    const FILES: usize = 50;
    let fixture = Single::new();
    fs::create_dir(fixture.one.path("directory")).unwrap();
    for number in 0..FILES {
        let path = fixture.one.path(&format!("directory/{number}"));
        fs::write(path, number.to_string()).unwrap();
    }
    fixture.one.sync();
    let without = "location /file/contents { return 404; }";
    let nginx = Nginx::start(fixture.directory.path(), &fixture.server.url(), without);
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", &nginx.url(), "ada").expect_success();
    two.mount();
    for number in 0..FILES {
        let path = two.path(&format!("directory/{number}"));
        assert_eq!(fs::read_to_string(path).unwrap(), number.to_string());
    }
    wait_until("each has been fetched once", seconds(10), || {
        two.status()["counters"]["ranges_fetched"] == FILES
    });
}

#[test]
fn connections_that_are_swallowed_hold_nothing_up_for_long() {
    let fixture = Single::new();
    let proxy = Proxy::start(&fixture.server.url());
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", proxy.url(), "ada").expect_success();
    two.mount();
    fs::write(two.path("before"), "a").unwrap();
    two.sync();
    proxy.swallow();
    fs::write(two.path("after"), "b").unwrap();
    let began = Instant::now();
    wait_until("the change is on the server", seconds(100), || fixture.one.path("after").exists());
    println!("after {:?}", began.elapsed());
    assert_eq!(fs::read_to_string(fixture.one.path("after")).unwrap(), "b");
}
