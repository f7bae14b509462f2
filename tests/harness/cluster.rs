//! A server of several processes behind a real nginx, on the real dependencies: the topology of
//! `server/deploy/compose`, without containers.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::api::Api;
use super::command::output;
use super::dependencies::{Dependencies, Reads};
use super::device::Device;
use super::server::{PASSWORD, Server};
use super::wait::{seconds, wait_until};

/// Arguments of the processes about draining: long enough for nginx to see it.
const DRAIN: [&str; 2] = ["--drain-delay", "1"];
/// Seconds for which an access token is good.
const ACCESS_TTL: &str = "10";

/// An upload host: its staging disk, the process that fills it, and the one that empties it.
pub(crate) struct Host {
    /// Name of the host.
    pub name: String,
    /// Takes chunks.
    pub upload: Server,
    /// Moves blobs to the store.
    pub transfer: Server,
}

/// A process of the roles that keep nothing.
pub(crate) struct Front {
    /// Roles of the process, with commas between.
    pub roles: &'static str,
    /// The process.
    pub process: Server,
}

/// Distribution of the roles that have no disk over processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fronts {
    /// Two processes, each with all of them.
    TwoOfAll,
    /// A process for each of them, so that no other one can do its work.
    OneForEach,
}

/// The roles that keep nothing.
const FRONT_ROLES: [&str; 3] = ["account", "files", "download"];

/// The processes, ended when dropped.
pub(crate) struct Cluster {
    directory: PathBuf,
    /// Arguments of all processes.
    common: Vec<String>,
    proxy: Proxy,
    /// The upload hosts.
    pub hosts: Vec<Host>,
    /// The processes for accounts, files and downloads.
    pub fronts: Vec<Front>,
    /// Databases, queues and stores of the cluster. Goes last.
    pub dependencies: Dependencies,
}

impl Cluster {
    /// Starts two upload hosts and two other processes.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, Fronts::TwoOfAll)
    }

    /// Starts two upload hosts and other processes as `fronts` says.
    pub(crate) fn start_with(directory: &Path, fronts: Fronts) -> Self {
        let dependencies =
            Dependencies::new(&directory.join("server.toml"), &["ceph"], Reads::ThroughTheServer);
        let key = directory.join("token.key");
        let common = vec!["--token-key-file".to_owned(), text(&key), "--config".to_owned()];
        let common = [common, vec![text(dependencies.configuration())]].concat();
        let fronts = match fronts {
            Fronts::TwoOfAll => vec![
                Front::start(directory, "front-1", "account,files,download", &common),
                Front::start(directory, "front-2", "account,files,download", &common),
            ],
            Fronts::OneForEach => {
                FRONT_ROLES.map(|role| Front::start(directory, role, role, &common)).into()
            }
        };
        let hosts = ["upload-1", "upload-2"].map(|name| Host::start(directory, name, &common));
        let hosts = Vec::from(hosts);
        let proxy = Proxy::start(directory, &hosts, &fronts);
        Self { directory: directory.to_owned(), common, proxy, hosts, fronts, dependencies }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    /// API of the cluster, nobody signed in.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// API of the cluster with a new account signed in.
    pub(crate) fn sign_up(&self, name: &str) -> Api {
        let body = json!({ "name": name, "password": PASSWORD, "device": { "name": "test" } });
        let session = self.api().post("/user/signup", &body).expect(200).json();
        self.api().with_token(session["access_token"].as_str().expect("a token"))
    }

    /// A device that signs up or in to one account (`verb`), with the drive of it mounted.
    pub(crate) fn device(&self, name: &str, verb: &str) -> Device {
        let device = Device::new(&self.directory, name);
        device.sign(verb, &self.url(), "ada").expect_success();
        device.mount();
        device
    }

    /// All processes.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Server> {
        let hosts = self.hosts.iter_mut().flat_map(|host| [&mut host.upload, &mut host.transfer]);
        hosts.chain(self.fronts.iter_mut().map(|front| &mut front.process))
    }

    /// The processes that have a role of those that keep nothing.
    pub(crate) fn fronts_of<'a>(
        &'a mut self,
        role: &'a str,
    ) -> impl Iterator<Item = &'a mut Server> {
        let of_role = self.fronts.iter_mut().filter(move |front| front.has(role));
        of_role.map(|front| &mut front.process)
    }

    /// Panics unless `fsck --deep` on each of the upload hosts finds nothing wrong.
    #[track_caller]
    pub(crate) fn fsck(&self) {
        for host in &self.hosts {
            let mut command = Command::new(Server::binary());
            command
                .args(["fsck", "--deep", "--host", &host.name, "--data"])
                .arg(host.upload.data());
            output(command.args(&self.common));
        }
    }

    /// The host of this name.
    pub(crate) fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.name == name).expect("a host of the cluster")
    }
}

impl Front {
    fn start(directory: &Path, name: &str, roles: &'static str, common: &[String]) -> Self {
        let (data, told) = (directory.join(name), ["--trusted-proxies", "127.0.0.1"]);
        // A token ends in the middle of a test: then its device needs a process for accounts.
        let more = [&["--roles", roles, "--access-ttl", ACCESS_TTL], &told[..], &DRAIN[..]];
        let (log, arguments) = (data.with_extension("log"), owned(common, &more.concat()));
        Self { roles, process: Server::start_at(&data, &log, arguments, "127.0.0.1:0") }
    }

    fn has(&self, role: &str) -> bool {
        self.roles.split(',').any(|of_its_own| of_its_own == role)
    }
}

impl Host {
    fn start(directory: &Path, name: &str, common: &[String]) -> Self {
        let (data, port) = (directory.join(name), free_port());
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
        let named = ["--host", name];
        let more = ["--roles", "upload", "--internal-url", &url, "--trusted-proxies", "127.0.0.1"];
        let arguments = owned(common, &[&named[..], &more[..], &DRAIN[..]].concat());
        let upload =
            Server::start_at(&data, &data.with_extension("upload.log"), arguments, &listen);
        let arguments = owned(common, &[&named[..], &["--roles", "transfer"][..]].concat());
        let log = data.with_extension("transfer.log");
        let transfer = Server::start_at(&data, &log, arguments, "127.0.0.1:0");
        Self { name: name.to_owned(), upload, transfer }
    }

    /// The directory that chunks are staged in.
    pub(crate) fn staging(&self) -> PathBuf {
        self.upload.data().join("staging")
    }

    /// `kill -9` of both processes.
    pub(crate) fn kill(&mut self) {
        self.upload.kill();
        self.transfer.kill();
    }

    /// Starts both processes again.
    pub(crate) fn restart(&mut self) {
        self.upload.restart();
        self.transfer.restart();
    }
}

fn owned(common: &[String], more: &[&str]) -> Vec<String> {
    common.iter().cloned().chain(more.iter().map(ToString::to_string)).collect()
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths of tests are UTF-8").to_owned()
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// nginx with the configuration that is delivered, but for its port and where the processes are.
struct Proxy {
    port: u16,
    child: Child,
}

impl Proxy {
    fn start(directory: &Path, hosts: &[Host], fronts: &[Front]) -> Self {
        let delivered = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/deploy/nginx");
        let (home, port) = (directory.join("nginx"), free_port());
        std::fs::create_dir_all(&home).expect("room for a directory");
        let read = |name: &str| {
            std::fs::read_to_string(delivered.join(name)).expect("the delivered configuration")
        };
        let pid = format!("pid {};", home.join("nginx.pid").display());
        let main = read("nginx.conf").replace("pid /tmp/nginx.pid;", &pid);
        let main = main.replace("listen 8080;", &format!("listen 127.0.0.1:{port};"));
        assert!(main.contains(&pid) && main.contains(&port.to_string()), "{main}");
        for (name, text) in [
            ("nginx.conf", main),
            ("routes.conf", read("routes.conf")),
            ("upstreams.conf", upstreams(hosts, fronts)),
        ] {
            std::fs::write(home.join(name), text).expect("room for a configuration");
        }
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "stderr", "-g", "daemon off;", "-p"]).arg(&home);
        command.arg("-c").arg(home.join("nginx.conf"));
        let log = std::fs::File::create(directory.join("nginx.log")).expect("room for a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nginx is installed: scripts/test does that");
        let proxy = Self { port, child };
        let ready = || Api::new(&proxy.url()).try_get("/readyz").is_ok_and(|is| is.status == 200);
        wait_until("the proxy answers", seconds(20), ready);
        proxy
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    /// The master ends its workers when it is asked, not when it is killed.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _it_may_have_ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _it_may_have_been_waited_for = self.child.wait();
    }
}

/// `upstreams.conf` of this cluster.
fn upstreams(hosts: &[Host], fronts: &[Front]) -> String {
    let address = |server: &Server| server.url().replace("http://", "");
    let mut text = String::new();
    let mut group = |name: &str, servers: &[String]| {
        let _no_io = writeln!(text, "upstream {name} {{ keepalive 16;");
        for server in servers {
            let _no_io = writeln!(text, "  server {server} max_fails=0;");
        }
        text.push_str("}\n");
    };
    for role in FRONT_ROLES {
        let of_role = fronts.iter().filter(|front| front.has(role));
        let servers: Vec<String> = of_role.map(|front| address(&front.process)).collect();
        group(&format!("miaofs_{role}"), &servers);
    }
    let uploads: Vec<String> = hosts.iter().map(|host| address(&host.upload)).collect();
    group("miaofs_upload", &uploads);
    for (host, upload) in hosts.iter().zip(&uploads) {
        group(&format!("host_{}", host.name), std::slice::from_ref(upload));
    }
    text.push_str("map $miaofs_host $miaofs_host_upstream {\n  default \"\";\n");
    for host in hosts {
        let _no_io = writeln!(text, "  {} host_{};", host.name, host.name);
    }
    text.push_str("}\n");
    text
}
