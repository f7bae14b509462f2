//! Large contents arrive on another device as they are, and memory stays bounded.

use crate::harness::wait::{seconds, wait_until};
use crate::scene::{GIB, Single, b3sum};

#[test]
fn a_gibibyte_arrives_on_another_device_as_it_is() {
    let scene = Single::new();
    scene.copy_in(GIB);
    let expected = b3sum(&scene.directory.path().join("film"));
    assert_eq!(b3sum(&scene.one.path("film")), expected, "read back where it was written");
    scene.one.sync();

    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str(), "what the server knows");
    assert_eq!(node["state"]["content"]["size"], GIB);

    let two = scene.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    assert_eq!(b3sum(&two.path("film")), expected, "read on the second device");
    for (who, memory) in [
        ("server", scene.server.peak_memory()),
        ("writing daemon", scene.one.peak_memory()),
        ("reading daemon", two.peak_memory()),
    ] {
        println!("peak resident memory of the {who}: {} MiB", memory / 1024);
        assert!(memory < 512 * 1024, "{who}: {memory} KiB for a file of 1 GiB");
    }
}
