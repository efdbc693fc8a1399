//! A cluster: an underlay, nodes, pods behind them, a control plane's place, an outside client.
//!
//! ```text
//! underlay 192.168.77.0/24, fd00:77::/64     control .1   node N .1N   outside .100
//! pods of node N 10.244.N.0/24, fd00:244:N::/64
//! ```

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use crate::{
    leftovers,
    net::{Netns, Prefixed, address, bridge, cable, narrow, route, up},
    preflight,
    probe::Agent,
    reaper::{Reaper, Thing, remove_all},
};

/// How pods of a node are wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wiring {
    /// To a bridge, as flannel and kubenet do.
    Bridge,
    /// Each with a device and a route of its own, as Calico and the ptp plugin do.
    PointToPoint,
}

/// A place where processes can run.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name, for people.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its IPv4 and IPv6 address.
    pub addresses: [IpAddr; 2],
    cgroup: PathBuf,
    tool: PathBuf,
}

/// A node: its host, its pods, and where its daemon keeps things.
#[derive(Debug)]
pub struct NodeBed {
    /// The node's own namespace.
    pub host: Host,
    /// Pods behind it.
    pub pods: Vec<PodBed>,
    /// cgroup2 directory: everything that runs on the node is below it.
    pub cgroup: PathBuf,
    /// Run directory for the node's daemon.
    pub run_dir: PathBuf,
    /// bpffs for the node's daemon.
    pub bpffs: PathBuf,
}

/// A pod.
#[derive(Debug)]
pub struct PodBed {
    /// Its namespace.
    pub host: Host,
}

/// A cluster; it goes with this value, or with the process.
#[derive(Debug)]
pub struct Cluster {
    /// Nodes.
    pub nodes: Vec<NodeBed>,
    /// Where the control plane would be.
    pub control: Host,
    /// A client outside.
    pub outside: Host,
    /// Files of this cluster.
    pub dir: PathBuf,
    /// How the pods of each node are wired.
    wiring: Vec<Wiring>,
    // Last: it removes what the others refer to.
    _reaper: Reaper,
}

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// Everything that making the parts needs.
struct Maker {
    reaper: Reaper,
    /// Where namespaces have their names: in the cluster's own directory, because `/run/netns` is
    /// covered by a mount of its own as soon as a user runs `ip netns`, and what is below it then can
    /// no longer be removed.
    namespaces: PathBuf,
    cgroup: PathBuf,
    tool: PathBuf,
}

impl Cluster {
    /// Builds one: for each node, how its pods are wired and how many there are. `tool`: a program
    /// with the subcommands `testbed reap|agent|serve`.
    ///
    /// # Errors
    /// What is missing, or what the kernel says; whatever was made is removed again.
    pub fn build(tool: &Path, nodes: &[(Wiring, u8)]) -> Result<Self> {
        preflight::check()?;
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let prefix = leftovers::prefix(number);
        let cgroup2 = preflight::cgroup2()?;
        remove_all(leftovers::of_dead_makers(&cgroup2), leftovers::PATIENCE);
        let mut reaper = Reaper::start(tool)?;
        let dir = std::env::temp_dir().join(format!("towpath-{prefix}"));
        reaper.note(&Thing::Directory(dir.clone()))?;
        private(&dir)?;
        let cgroup = cgroup2.join(format!("towpath-{prefix}"));
        reaper.note(&Thing::Cgroup(cgroup.clone()))?;
        fs::create_dir(&cgroup)?;
        let namespaces = dir.join("netns");
        fs::create_dir(&namespaces)?;
        let mut maker = Maker { reaper, namespaces, cgroup, tool: tool.to_owned() };

        let underlay = maker.netns("ul")?;
        underlay.within(|handle| async move { bridge(&handle, "br0").await })?;
        let control = maker.host(&underlay, "control", "cp", 1, None)?;
        let outside = maker.host(&underlay, "outside", "out", 100, None)?;
        let mut beds = Vec::new();
        for (at, (wiring, pods)) in nodes.iter().enumerate() {
            let number = u8::try_from(at + 1).context("too many nodes")?;
            beds.push(maker.node(&underlay, &dir, number, *wiring, *pods)?);
        }
        let hosts: Vec<Host> = [&control, &outside].into_iter().cloned().collect();
        let all: Vec<Host> =
            hosts.into_iter().chain(beds.iter().map(|bed| bed.host.clone())).collect();
        for (at, bed) in beds.iter().enumerate() {
            let number = u8::try_from(at + 1).context("too many nodes")?;
            for host in all.iter().filter(|host| host.name != bed.host.name) {
                let gateways = bed.host.addresses;
                host.netns.within(move |handle| async move {
                    for (block, gateway) in pod_blocks(number).into_iter().zip(gateways) {
                        route(&handle, block, Some(gateway), None).await?;
                    }
                    Ok(())
                })?;
            }
        }
        let wiring = nodes.iter().map(|(wiring, _)| *wiring).collect();
        Ok(Self { nodes: beds, control, outside, dir, wiring, _reaper: maker.reaper })
    }

    /// Leads the outside client's packets to an address through a node, as a router does that was told
    /// where VIPs are.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lead(&self, to: IpAddr, node: usize) -> Result<()> {
        let (prefix, family) = if to.is_ipv4() { (32, 0) } else { (128, 1) };
        let gateway = self.nodes[node].host.addresses[family];
        self.outside.netns.within(move |handle| async move {
            route(&handle, (to, prefix), Some(gateway), None).await
        })
    }

    /// What a node sends on to a pod may have so many bytes: to its own over its device, to another node's
    /// through that node.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn narrow_to_pod(&self, from: usize, (node, pod): (usize, usize), mtu: u32) -> Result<()> {
        let device = match (from == node, self.wiring[node]) {
            (false, _) => "eth0".to_owned(),
            (true, Wiring::Bridge) => "cni0".to_owned(),
            (true, Wiring::PointToPoint) => format!("veth{}", pod + 1),
        };
        for (to, gateway) in
            self.pod(node, pod).addresses.into_iter().zip(self.nodes[node].host.addresses)
        {
            let (device, gateway) = (device.clone(), (from != node).then_some(gateway));
            self.nodes[from].host.netns.within(move |handle| async move {
                narrow(&handle, to, gateway, &device, mtu).await
            })?;
        }
        Ok(())
    }

    /// What nodes send to the outside client goes through the control plane's host from now on, which sends on
    /// so many bytes at most.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn narrow_to_outside(&self, mtu: u32) -> Result<()> {
        for family in 0..2 {
            let (to, through) = (self.outside.addresses[family], self.control.addresses[family]);
            for node in &self.nodes {
                let whole = if to.is_ipv4() { 32 } else { 128 };
                node.host.netns.within(move |handle| async move {
                    route(&handle, (to, whole), Some(through), None).await
                })?;
            }
            self.control.netns.within(move |handle| async move {
                for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                    fs::write(format!("/proc/sys/net/{switch}"), "1")?;
                }
                narrow(&handle, to, None, "eth0", mtu).await
            })?;
        }
        Ok(())
    }

    /// A pod by node and number.
    #[must_use]
    pub fn pod(&self, node: usize, pod: usize) -> &Host {
        &self.nodes[node].pods[pod].host
    }
}

/// The pods of a node: both blocks.
fn pod_blocks(node: u8) -> [Prefixed; 2] {
    [
        (IpAddr::V4(Ipv4Addr::new(10, 244, node, 0)), 24),
        (IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, node.into(), 0, 0, 0, 0, 0)), 64),
    ]
}

fn pod_addresses(node: u8, last: u8) -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::new(10, 244, node, last)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x244, node.into(), 0, 0, 0, 0, last.into())),
    ]
}

fn underlay_addresses(last: u8) -> [IpAddr; 2] {
    // fd00:77::100 reads as the IPv4 address does.
    let text = u16::from_str_radix(&last.to_string(), 16).unwrap_or_else(|_never| last.into());
    [
        IpAddr::V4(Ipv4Addr::new(192, 168, 77, last)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, text)),
    ]
}

/// A directory for root only, as the daemon makes its own.
fn private(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}

impl Maker {
    fn netns(&mut self, name: &str) -> Result<Netns> {
        let file = self.namespaces.join(name);
        self.reaper.note(&Thing::Netns(file.clone()))?;
        Netns::make(&file)
    }

    fn cgroup(&mut self, parent: &Path, name: &str) -> Result<PathBuf> {
        let path = parent.join(name);
        self.reaper.note(&Thing::Cgroup(path.clone()))?;
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Something on the underlay.
    fn host(
        &mut self,
        underlay: &Netns,
        name: &str,
        short: &str,
        last: u8,
        cgroup: Option<PathBuf>,
    ) -> Result<Host> {
        let netns = self.netns(short)?;
        cable(underlay, &format!("u-{short}"), Some("br0"), &netns, "eth0")?;
        let addresses = underlay_addresses(last);
        netns.within(move |handle| async move {
            for (ip, prefix) in addresses.into_iter().zip([24, 64]) {
                address(&handle, "eth0", (ip, prefix)).await?;
            }
            up(&handle, "eth0").await
        })?;
        let cgroup = match cgroup {
            Some(cgroup) => cgroup,
            None => self.cgroup(&self.cgroup.clone(), name)?,
        };
        Ok(Host { name: name.to_owned(), netns, addresses, cgroup, tool: self.tool.clone() })
    }

    fn node(
        &mut self,
        underlay: &Netns,
        dir: &Path,
        number: u8,
        wiring: Wiring,
        pods: u8,
    ) -> Result<NodeBed> {
        let name = format!("node-{number}");
        let cgroup = self.cgroup(&self.cgroup.clone(), &name)?;
        let own = self.cgroup(&cgroup, "host")?;
        let host = self.host(underlay, &name, &format!("n{number}"), 10 + number, Some(own))?;
        // The nodes' way to addresses without an owner: none of them is ever reached.
        host.netns.within(|handle| async move {
            for (to, gateway) in
                [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
                    .into_iter()
                    .zip(underlay_addresses(1))
            {
                route(&handle, (to, 0), Some(gateway), None).await?;
            }
            Ok(())
        })?;
        if wiring == Wiring::Bridge {
            host.netns.within(move |handle| async move {
                bridge(&handle, "cni0").await?;
                for (ip, prefix) in pod_addresses(number, 1).into_iter().zip([24, 64]) {
                    address(&handle, "cni0", (ip, prefix)).await?;
                }
                Ok(())
            })?;
        }
        let run_dir = dir.join(&name);
        let bpffs = run_dir.join("bpf");
        private(&run_dir)?;
        private(&bpffs)?;
        self.reaper.note(&Thing::Mount(bpffs.clone()))?;
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a bpffs")?;
        let mut beds = Vec::new();
        for pod in 1..=pods {
            beds.push(self.pod(&host, &cgroup, number, pod, wiring)?);
        }
        Ok(NodeBed { host, pods: beds, cgroup, run_dir, bpffs })
    }

    fn pod(
        &mut self,
        node: &Host,
        node_cgroup: &Path,
        number: u8,
        pod: u8,
        wiring: Wiring,
    ) -> Result<PodBed> {
        let name = format!("pod-{number}-{pod}");
        let netns = self.netns(&format!("p{number}{pod}"))?;
        let device = format!("veth{pod}");
        let master = (wiring == Wiring::Bridge).then_some("cni0");
        cable(&node.netns, &device, master, &netns, "eth0")?;
        let addresses = pod_addresses(number, 10 + pod);
        let gateways = pod_addresses(number, 1);
        let lengths = if wiring == Wiring::Bridge { [24, 64] } else { [32, 128] };
        netns.within(move |handle| async move {
            up(&handle, "eth0").await?;
            for ((ip, length), gateway) in addresses.into_iter().zip(lengths).zip(gateways) {
                address(&handle, "eth0", (ip, length)).await?;
                let any = match ip {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                route(&handle, (any, 0), Some(gateway), Some("eth0")).await?;
            }
            Ok(())
        })?;
        if wiring == Wiring::PointToPoint {
            node.netns.within(move |handle| async move {
                for ((ip, gateway), length) in addresses.into_iter().zip(gateways).zip(lengths) {
                    address(&handle, &device, (gateway, length)).await?;
                    route(&handle, (ip, length), None, Some(&device)).await?;
                }
                Ok(())
            })?;
        }
        let cgroup = self.cgroup(node_cgroup, &name)?;
        Ok(PodBed { host: Host { name, netns, addresses, cgroup, tool: self.tool.clone() } })
    }
}

impl NodeBed {
    /// The command of this node's daemon, but for its source of cluster state. Start it with
    /// [`Host::spawn`] of this node's host.
    #[must_use]
    pub fn daemon(&self, program: &Path) -> Command {
        let mut command = self.host.command(program);
        command
            .args(["run", "--node-name", &self.host.name])
            .arg("--cgroup-root")
            .arg(&self.cgroup)
            .arg("--bpffs")
            .arg(self.bpffs.join("towpath"))
            .arg("--run-dir")
            .arg(&self.run_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

impl Host {
    /// A command that will run here: in this namespace, in this cgroup before its first instruction.
    /// Start it with [`Host::spawn`].
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("echo $$ > \"$0/cgroup.procs\" && exec \"$@\"")
            .arg(&self.cgroup)
            .arg(program);
        command
    }

    /// Starts a command of [`Host::command`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<std::process::Child> {
        self.netns.enter(move || Ok(command.spawn()?))
    }

    /// Starts echo servers here, on these ports, TCP and UDP, both families.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn serve(&self, ports: &[u16]) -> Result<std::process::Child> {
        self.serve_on(ports, None)
    }

    /// The same, on one processor only.
    ///
    /// # Errors
    /// When they do not come up.
    pub fn serve_on(&self, ports: &[u16], cpu: Option<usize>) -> Result<std::process::Child> {
        let mut command = self.command(&self.tool);
        command.args(["testbed", "serve", "--name", &self.name]);
        for port in ports {
            command.args(["--port", &port.to_string()]);
        }
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        self.until_ready(command)
    }

    /// Starts a DNS server here, on port 53 of the IPv4 address: it knows these names and no others.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn serve_names(&self, names: &[(&str, IpAddr)]) -> Result<std::process::Child> {
        let mut command = self.command(&self.tool);
        let at = SocketAddr::new(self.v4(), 53).to_string();
        command.args(["testbed", "names", "--at", &at]);
        for (name, address) in names {
            command.args(["--name", &format!("{name}={address}")]);
        }
        self.until_ready(command)
    }

    /// Starts a server and waits until it says that it serves.
    fn until_ready(&self, mut command: Command) -> Result<std::process::Child> {
        use std::io::{BufRead as _, BufReader};
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = self.spawn(command)?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "ready", "the server on {} said {line:?}", self.name);
        Ok(child)
    }

    /// Starts a client process here that does as it is told.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn agent(&self) -> Result<Agent> {
        let mut command = self.command(&self.tool);
        command.args(["testbed", "agent"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Agent::new(self.spawn(command)?)
    }

    /// A listener made in this namespace.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn listen(&self, port: u16) -> Result<TcpListener> {
        self.netns.enter(move || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    }

    /// The same place on the network, but in another's cgroup: what a node's programs do not see.
    #[must_use]
    pub fn in_cgroup_of(&self, other: &Self) -> Self {
        Self { cgroup: other.cgroup.clone(), ..self.clone() }
    }

    /// The IPv4 address.
    #[must_use]
    pub const fn v4(&self) -> IpAddr {
        self.addresses[0]
    }

    /// The IPv6 address.
    #[must_use]
    pub const fn v6(&self) -> IpAddr {
        self.addresses[1]
    }
}
