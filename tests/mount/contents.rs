//! Large contents arrive on another device as they are, and memory stays bounded.

use crate::fixture::{GIB, Single};
use crate::harness::command::b3sum;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn a_gibibyte_arrives_on_another_device_as_it_is() {
    let fixture = Single::new();
    fixture.copy_in(GIB);
    let expected = b3sum(&fixture.directory.path().join("film"));
    assert_eq!(b3sum(&fixture.one.path("film")), expected, "read back where it was written");
    fixture.one.sync();

    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str(), "what the server knows");
    assert_eq!(node["state"]["content"]["size"], GIB);

    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    assert_eq!(b3sum(&two.path("film")), expected, "read on the second device");
    for (who, memory) in [
        ("server", fixture.server.peak_memory()),
        ("writing daemon", fixture.one.peak_memory()),
        ("reading daemon", two.peak_memory()),
    ] {
        println!("peak resident memory of the {who}: {} MiB", memory / 1024);
        assert!(memory < 512 * 1024, "{who}: {memory} KiB for a file of 1 GiB");
    }
}
