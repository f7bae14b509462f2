//! A full disk is said so, and once there is room again all goes on, without a restart.

use miaofs::protocol::ids::NodeId;

use crate::harness::disk::SmallDisk;
use crate::harness::drive::{Change, commit_of};
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn a_full_disk_is_507_and_passes() {
    let disk = SmallDisk::new(32);
    let server = Server::start_embedded(&disk.path().join("data"), &[]);
    let ada = server.sign_up("ada");
    let make = |name: &str| {
        let change = Change::directory(NodeId::ROOT, name);
        ada.post("/fs/commit", &commit_of(&[&change]))
    };
    make("before").expect(200);
    ada.get("/readyz").expect(200);
    disk.fill();
    for round in 0..3 {
        // What the log has room for already still succeeds.
        let refused =
            (0..2000).map(|number| make(&format!("{round} {number}"))).find(|it| it.status != 200);
        refused.expect("the disk is full").expect_problem(507, "storage_full");
    }
    ada.get("/readyz").expect_problem(503, "unavailable");
    disk.free();
    wait_until("a change is taken again", seconds(10), || make("after").status == 200);
    ada.get("/readyz").expect(200);
    server.sign_up("bob");
}
