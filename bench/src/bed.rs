//! A cluster with one node, an API server in this process, and a daemon.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use towpath_testbed::{
    Cluster, Wiring,
    api::Api,
    objects::{self, node},
};

/// What routes the node's Services.
#[derive(Clone, Copy)]
pub(crate) enum Router<'a> {
    /// The daemon of this repository.
    Towpath,
    /// What a user runs today, in nftables mode: the program at this path.
    KubeProxy(&'a Path),
}

/// Everything a measurement needs.
pub(crate) struct Bed {
    pub(crate) api: Api,
    daemon: Option<Child>,
    tool: PathBuf,
    kubeconfig: PathBuf,
    pub(crate) cluster: Cluster,
}

impl Bed {
    /// A node with this many pods; no daemon yet.
    pub(crate) fn build(tool: &Path, pods: u8) -> Result<Self> {
        let cluster = Cluster::build(tool, &[(Wiring::Bridge, pods)])?;
        let api = Api::new();
        api.serve(cluster.control.listen(6443)?)?;
        api.put(node(&cluster.nodes[0], "zone"))?;
        let server = SocketAddr::new(cluster.control.v4(), 6443);
        let kubeconfig = cluster.dir.join("kubeconfig");
        let fields = json!({ "server": format!("http://{server}") });
        std::fs::write(&kubeconfig, objects::kubeconfig(&fields).to_string())?;
        Ok(Self { api, daemon: None, tool: tool.to_owned(), kubeconfig, cluster })
    }

    /// Starts the daemon; answers when its process was started.
    pub(crate) fn start(&mut self, router: Router<'_>) -> Result<Instant> {
        let bed = &self.cluster.nodes[0];
        let mut command = match router {
            Router::Towpath => {
                let mut command = bed.daemon(&self.tool);
                command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--log-level", "info"]);
                command
            }
            Router::KubeProxy(program) => {
                let mut command = bed.host.command(program);
                command
                    .arg("--kubeconfig")
                    .arg(&self.kubeconfig)
                    .args(["--hostname-override", &bed.host.name])
                    .args(["--proxy-mode=nftables", "--cluster-cidr=10.128.0.0/9"])
                    // The machine's connection tracking is not ours to set.
                    .args(["--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0"])
                    .args(["--conntrack-tcp-timeout-close-wait=0", "--kube-api-content-type"])
                    .arg("application/json");
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(bed.run_dir.join("daemon.log"))?);
        let began = Instant::now();
        self.daemon = Some(bed.host.spawn(command)?);
        Ok(began)
    }

    /// Waits until this many Services are in force.
    pub(crate) fn wait_for(&self, services: u64) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(status) = self.status()
                && status["state"]["services"].as_u64() == Some(services)
                && status["state"]["kernel"]["pending"] == false
            {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("not ready: {}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the daemon wrote.
    pub(crate) fn log(&self) -> String {
        let log = self.cluster.nodes[0].run_dir.join("daemon.log");
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// What `towpath status -o json` says.
    pub(crate) fn status(&self) -> Result<Value> {
        let socket = self.cluster.nodes[0].run_dir.join("control.sock");
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET /v1/status HTTP/1.0\r\nHost: towpath\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(serde_json::from_str(body)?)
    }

    /// A line of the daemon's `/proc/PID/status`, in MiB.
    pub(crate) fn memory(&self, field: &str) -> Result<f64> {
        // The process that was started is the daemon itself (the shell before it was replaced).
        let pid = self.daemon.as_ref().context("no daemon")?.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        Ok(kib.context("no such field")?.parse::<f64>()? / 1024.0)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _gone = daemon.kill().and_then(|()| daemon.wait());
        }
    }
}
