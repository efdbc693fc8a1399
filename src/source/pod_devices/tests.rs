use std::{fs, process::Command};

use nix::sched::{CloneFlags, unshare};
use tokio::sync::mpsc;

use super::*;

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "ip {arguments}");
}

async fn heard(events: &mut mpsc::Receiver<Vec<Event>>, wanted: &[(&str, &[&str])]) {
    let wanted: Vec<PodDevice> = wanted
        .iter()
        .map(|(name, ips)| {
            let path = format!("/proc/thread-self/net/dev_snmp6/{name}");
            let text = fs::read_to_string(path).unwrap();
            let index = text.split_whitespace().nth(1).unwrap().parse().unwrap();
            PodDevice { index, addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect() }
        })
        .collect();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        let events = next.unwrap().unwrap();
        let pods = events.iter().find_map(|event| match event {
            Event::Local(NodeFact::PodDevices(devices)) => Some(devices),
            _ => None,
        });
        let Some(devices) = pods else { continue };
        let mut devices = devices.to_vec();
        devices.sort();
        let mut wanted = wanted.clone();
        wanted.sort();
        if devices == wanted {
            return;
        }
    }
}

/// In a namespace of its own: a thread that is thrown away afterwards.
#[test]
#[ignore = "needs root"]
fn devices_of_pods_are_followed_and_others_are_told_apart() {
    let test = async || {
        let (sender, mut events) = mpsc::channel(1024);
        let source = tokio::spawn(run(Feed::new(sender), Health::default()));
        heard(&mut events, &[]).await;
        // A pod: its end has no address at first, then two.
        let mut pod = Command::new("unshare").args(["-n", "sleep", "300"]).spawn().unwrap();
        let inside = |arguments: &str| {
            let pid = pod.id().to_string();
            let done = Command::new("nsenter")
                .args(["-t", &pid, "-n", "ip"])
                .args(arguments.split(' '))
                .status();
            assert!(done.unwrap().success(), "{arguments}");
        };
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        while fs::read_link(format!("/proc/{}/ns/net", pod.id())).is_ok_and(|it| it == own) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let netns = pod.id();
        ip(&format!("link add veth1 type veth peer name eth0 netns {netns}"));
        ip("link set veth1 up");
        heard(&mut events, &[("veth1", &[])]).await;
        inside("addr add 10.1.0.2/24 dev eth0");
        inside("addr add fd00::2/64 dev eth0 nodad");
        inside("addr add 169.254.3.3/16 dev eth0");
        heard(&mut events, &[("veth1", &["10.1.0.2", "fd00::2"])]).await;
        // A second pair, which is the way out of the node: a gateway is behind it.
        ip(&format!("link add out0 type veth peer name eth1 netns {netns}"));
        ip("addr add 192.168.5.2/24 dev out0");
        ip("link set out0 up");
        inside("addr add 192.168.5.1/24 dev eth1");
        inside("link set eth1 up");
        ip("route add default via 192.168.5.1");
        // A route to the pod alone leaves it a pod's.
        ip("route add 10.1.0.2/32 dev veth1");
        ip(&format!("link add veth2 type veth peer name eth2 netns {netns}"));
        ip("link set veth2 up");
        inside("addr add 10.1.0.3/24 dev eth2");
        heard(&mut events, &[("veth1", &["10.1.0.2", "fd00::2"]), ("veth2", &["10.1.0.3"])]).await;
        ip("link del veth2");
        heard(&mut events, &[("veth1", &["10.1.0.2", "fd00::2"])]).await;
        source.abort();
        pod.kill().unwrap();
        pod.wait().unwrap();
    };
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join()
    .unwrap();
}

#[tokio::test]
async fn only_a_namespace_that_is_gone_has_no_addresses() {
    let (mut connection, handle, _messages) = rtnetlink::new_connection().unwrap();
    connection.socket_mut().socket_mut().set_netlink_get_strict_chk(true).unwrap();
    let connection = tokio::spawn(connection);
    // No namespace has this number here.
    let gone = addresses(&handle, 4_242).await;
    assert_eq!(gone_or(gone).unwrap(), BTreeMap::new());
    for errno in [libc::ENOBUFS, libc::EACCES, libc::EINTR] {
        let failed = gone_or::<()>(Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(errno));
    }
    connection.abort();
}
