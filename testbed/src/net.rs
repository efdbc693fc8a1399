//! Network namespaces and links, over netlink.

use std::{
    fs::{self, File},
    net::IpAddr,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMetric},
};

/// A named network namespace. Removing it is the reaper's work.
#[derive(Clone, Debug)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// Makes it: a thread moves into a new namespace and ties it to a file that is made for it, so that
    /// `nsenter --net=FILE` enters it.
    ///
    /// # Errors
    /// When the kernel refuses (not root), or the file exists.
    pub fn make(file: &Path) -> Result<Self> {
        let path = file.to_owned();
        File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
        let target = path.clone();
        let made = thread::spawn(move || -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .context("naming a network namespace")?;
            for (setting, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv6/conf/all/accept_dad", "0"),
            ] {
                fs::write(Path::new("/proc/sys/net").join(setting), value)
                    .with_context(|| format!("sysctl {setting}"))?;
            }
            Ok(())
        });
        made.join().map_err(|_panic| anyhow!("the thread that makes namespaces died"))??;
        let this = Self { path };
        this.within(|handle| async move { up(&handle, "lo").await })?;
        Ok(this)
    }

    /// Its name's place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs something on a thread inside the namespace; sockets made there stay there, processes
    /// started there live there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `work` says.
    pub fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path.clone();
        let thread = thread::spawn(move || {
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            setns(file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            work()
        });
        thread.join().map_err(|_panic| anyhow!("the thread inside the namespace died"))?
    }

    /// Runs netlink requests inside the namespace.
    ///
    /// # Errors
    /// What the kernel or `work` says.
    pub fn within<T, F, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>>,
        W: FnOnce(Handle) -> F + Send + 'static,
    {
        self.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                let connection = tokio::spawn(connection);
                let result = work(handle).await;
                connection.abort();
                result
            })
        })
    }
}

/// A device's address with its prefix length.
pub type Prefixed = (IpAddr, u8);

/// Index of a device.
///
/// # Errors
/// When there is none of this name.
pub async fn index(handle: &Handle, name: &str) -> Result<u32> {
    use futures_util::TryStreamExt as _;
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await.with_context(|| format!("device {name}"))?;
    Ok(link.with_context(|| format!("no device {name}"))?.header.index)
}

/// Brings a device up.
///
/// # Errors
/// When there is none of this name.
pub async fn up(handle: &Handle, name: &str) -> Result<()> {
    let index = index(handle, name).await?;
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await.with_context(|| format!("device {name} up"))
}

/// Makes a bridge and brings it up.
///
/// # Errors
/// What the kernel says.
pub async fn bridge(handle: &Handle, name: &str) -> Result<()> {
    handle.link().add(LinkBridge::new(name).build()).execute().await.context("bridge")?;
    up(handle, name).await
}

/// Gives a device an address.
///
/// # Errors
/// What the kernel says.
pub async fn address(handle: &Handle, name: &str, (ip, prefix): Prefixed) -> Result<()> {
    let index = index(handle, name).await?;
    let added = handle.address().add(index, ip, prefix).execute().await;
    added.with_context(|| format!("address {ip}/{prefix} on {name}"))
}

/// A route to a block, through a gateway or over a device.
///
/// # Errors
/// What the kernel says.
pub async fn route(
    handle: &Handle,
    (to, prefix): Prefixed,
    gateway: Option<IpAddr>,
    device: Option<&str>,
) -> Result<()> {
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to, prefix)
        .map_err(|e| anyhow!("route to {to}/{prefix}: {e}"))?;
    if let Some(gateway) = gateway {
        message = message.gateway(gateway).map_err(|e| anyhow!("gateway {gateway}: {e}"))?;
    }
    if let Some(device) = device {
        message = message.output_interface(index(handle, device).await?);
        if gateway.is_some() {
            message = message.onlink();
        }
    }
    let added = handle.route().add(message.build()).execute().await;
    added.with_context(|| format!("route to {to}/{prefix}"))
}

/// A route to one address, through a gateway or over a device, that carries so many bytes at most and says
/// so to what sends more; in the place of one that is there.
///
/// # Errors
/// What the kernel says.
pub async fn narrow(
    handle: &Handle,
    to: IpAddr,
    gateway: Option<IpAddr>,
    device: &str,
    mtu: u32,
) -> Result<()> {
    let whole = if to.is_ipv4() { 32 } else { 128 };
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to, whole)
        .map_err(|e| anyhow!("route to {to}: {e}"))?
        .output_interface(index(handle, device).await?);
    if let Some(gateway) = gateway {
        message = message.gateway(gateway).map_err(|e| anyhow!("gateway {gateway}: {e}"))?;
    }
    let mut message = message.build();
    // RTAX_MTU is 2: what is forwarded heeds the number only where it is locked.
    let metrics = vec![RouteMetric::Lock(1 << 2), RouteMetric::Mtu(mtu)];
    message.attributes.push(RouteAttribute::Metrics(metrics));
    let added = handle.route().add(message).replace().execute().await;
    added.with_context(|| format!("route to {to} for {mtu} bytes"))
}

/// A cable: one end in `here` (made there, tied to `master` if given), the other in `there`.
///
/// # Errors
/// What the kernel says.
pub fn cable(
    here: &Netns,
    here_name: &str,
    master: Option<&str>,
    there: &Netns,
    there_name: &str,
) -> Result<()> {
    let far = File::open(there.path())?;
    let (near_name, far_name) = (here_name.to_owned(), there_name.to_owned());
    let master = master.map(str::to_owned);
    here.within(move |handle| async move {
        // Made under a name of its own, so that both ends may have the same one in the end.
        let passing = format!("x{near_name}");
        let passing = passing.get(..passing.len().min(15)).unwrap_or(&passing).to_owned();
        let link = LinkVeth::new(&near_name, &passing).build();
        handle.link().add(link).execute().await.with_context(|| format!("veth {near_name}"))?;
        let far_index = index(&handle, &passing).await?;
        let message = LinkUnspec::new_with_index(far_index)
            .name(far_name)
            .setns_by_fd(far.as_raw_fd())
            .build();
        handle.link().set(message).execute().await.context("moving a veth end")?;
        if let Some(master) = master {
            let (near, master) =
                (index(&handle, &near_name).await?, index(&handle, &master).await?);
            let message =
                LinkMessageBuilder::<LinkUnspec>::default().index(near).controller(master).build();
            handle.link().set(message).execute().await.context("joining a bridge")?;
        }
        up(&handle, &near_name).await
    })
}
