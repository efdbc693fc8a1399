use std::net::IpAddr;

use nix::sched::{CloneFlags, unshare};
use tokio::sync::mpsc;
use towpath_model::{Event, NodeFact};

use super::*;

#[test]
fn what_others_can_not_reach_is_left_out() {
    for (ip, expected) in [
        ("127.0.0.1", false),
        ("127.8.0.1", false),
        ("::1", false),
        ("169.254.1.1", false),
        ("fe80::1", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
        ("ff02::1", false),
        ("10.0.0.1", true),
        ("192.168.77.11", true),
        ("fd00:77::11", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(reachable(ip.parse().unwrap()), expected, "{ip}");
    }
}

#[test]
fn the_local_end_of_a_point_to_point_link_is_ours() {
    let mut message = AddressMessage::default();
    message.attributes = vec![
        AddressAttribute::Address("10.9.9.2".parse().unwrap()),
        AddressAttribute::Local("10.9.9.1".parse().unwrap()),
    ];
    assert_eq!(own_address(&message), Some("10.9.9.1".parse().unwrap()));
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Dadfailed));
    assert_eq!(own_address(&message), None, "another host has this address");
}

async fn heard(wakes: &mut mpsc::Receiver<Vec<Event>>) -> Vec<IpAddr> {
    let heard = tokio::time::timeout(Duration::from_secs(60), wakes.recv()).await;
    let events = heard.unwrap().unwrap();
    let [Event::Local(NodeFact::Addresses(addresses))] = &events[..] else { panic!("{events:?}") };
    addresses.clone()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// In a namespace of its own: a thread that is thrown away afterwards.
fn in_fresh_namespace(test: impl AsyncFnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join()
    .unwrap();
}

async fn lo(handle: &Handle) -> u32 {
    let mut links = handle.link().get().match_name("lo".to_owned()).execute();
    links.try_next().await.unwrap().unwrap().header.index
}

async fn add(handle: &Handle, device: u32, ip: &str, prefix: u8) {
    handle.address().add(device, ip.parse().unwrap(), prefix).execute().await.unwrap();
}

async fn remove(handle: &Handle, ip: &str) {
    let mut found = handle.address().get().set_address_filter(ip.parse().unwrap()).execute();
    let message = found.try_next().await.unwrap().unwrap();
    handle.address().del(message).execute().await.unwrap();
}

#[test]
#[ignore = "needs root"]
fn addresses_are_followed() {
    in_fresh_namespace(async || {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let device = lo(&handle).await;
        handle
            .link()
            .set(rtnetlink::LinkUnspec::new_with_index(device).up().build())
            .execute()
            .await
            .unwrap();

        let (sender, mut wakes) = mpsc::channel(8);
        let (told, mut known) = watch::channel(false);
        let source = tokio::spawn(run(Feed::new(sender), Health::default(), told));
        assert_eq!(heard(&mut wakes).await, ips(&[]), "loopback alone is no address");
        known.wait_for(|known| *known).await.unwrap();

        add(&handle, device, "192.168.77.11", 24).await;
        assert_eq!(heard(&mut wakes).await, ips(&["192.168.77.11"]));

        add(&handle, device, "169.254.7.7", 32).await;
        add(&handle, device, "fd00:77::11", 64).await;
        assert_eq!(heard(&mut wakes).await, ips(&["192.168.77.11", "fd00:77::11"]));

        remove(&handle, "192.168.77.11").await;
        assert_eq!(heard(&mut wakes).await, ips(&["fd00:77::11"]));

        // Nothing that matters: nothing is said.
        remove(&handle, "169.254.7.7").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(wakes.try_recv().is_err());

        drop(wakes);
        add(&handle, device, "192.168.77.12", 24).await;
        let ended = tokio::time::timeout(Duration::from_secs(60), source).await.unwrap().unwrap();
        assert!(ended.is_err(), "the source ends with the loop");
    });
}

#[test]
#[ignore = "needs root"]
fn a_burst_ends_in_the_right_list() {
    in_fresh_namespace(async || {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let device = lo(&handle).await;
        let (sender, mut wakes) = mpsc::channel(1024);
        let _source =
            tokio::spawn(run(Feed::new(sender), Health::default(), watch::channel(false).0));
        for last in 1..=200u8 {
            add(&handle, device, &format!("10.1.0.{last}"), 32).await;
        }
        for last in 2..=200u8 {
            remove(&handle, &format!("10.1.0.{last}")).await;
        }
        let expected = ips(&["10.1.0.1"]);
        let mut messages = 0;
        loop {
            messages += 1;
            if heard(&mut wakes).await == expected && messages > 1 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(wakes.try_recv().is_err(), "the last word is the right list");
    });
}
