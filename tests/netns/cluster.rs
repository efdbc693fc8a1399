//! A node that moves to another cluster.

use serde_json::json;
use towpath_testbed::probe::Agent;

use crate::support::{Bed, reaches, service, to};

const IP: &str = "10.96.11.1";

fn is(bed: &Bed, uid: &str) {
    let metadata = json!({ "name": "kube-system", "uid": uid });
    bed.api.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })).unwrap();
}

fn answers(client: &mut Agent, name: &str) {
    reaches(client, to(IP, 80), &[name]);
}

#[test]
#[ignore = "needs root"]
fn pins_of_another_cluster_are_served_and_not_written_until_they_are_cleaned() {
    let mut bed = Bed::new();
    is(&bed, "0c2b5a0e-6a3f-4f0e-9a7e-2f4b7d1c9e55");
    bed.kill(0);
    bed.start(0);
    bed.ready(0);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    answers(&mut bed.pods[0], "pod-1-2");
    // The same cluster again, by what is remembered and by what the server says.
    bed.kill(0);
    bed.start(0);
    bed.ready(0);

    bed.kill(0);
    is(&bed, "ffffffff-6a3f-4f0e-9a7e-2f4b7d1c9e55");
    bed.endpoints("s", &[bed.at(0, 2)]);
    for _ in 0..2 {
        let refused = bed.start_second(0);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("another cluster") && said.contains("towpath cleanup"), "{said}");
        // Traffic goes on with what is there.
        answers(&mut bed.pods[0], "pod-1-2");
    }
    let pins = bed.cluster.nodes[0].bpffs.join("towpath").display().to_string();
    assert!(bed.cli(0, &["cleanup", "--bpffs", &pins]).status.success());
    bed.start(0);
    bed.ready(0);
    answers(&mut bed.pods[0], "pod-1-3");
}
