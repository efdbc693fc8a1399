//! `towpath probe`: what the kubelet of this node runs in the daemon's pod.
//!
//! By exec and over the control socket, not over HTTP: on the host's network two daemons share their
//! ports during an upgrade, and the wrong one could answer.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    client::Target,
    output::{self, Exit, Failure},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to ask
    #[arg(value_enum)]
    question: Question,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Question {
    /// Was everything listed and written once? Not lost again when the API server goes away
    Ready,
    /// Does the control loop turn?
    Live,
    /// Can this pod connect to kubernetes.default by its clusterIP? Asks no daemon
    Api,
}

/// A connection that takes longer was not routed.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = match args.question {
        Question::Ready => "/v1/ready",
        Question::Live => "/v1/live",
        Question::Api => {
            let variable = |name: &str| std::env::var(name).unwrap_or_default();
            let (host, port) =
                (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
            return api(&host, &port, out);
        }
    };
    judge(&args.target.ask(path)?, out)
}

fn judge(reply: &serde_json::Value, out: &mut dyn Write) -> Result<Exit, Failure> {
    if reply["well"].as_bool() == Some(true) {
        return output::line(out, "yes");
    }
    let why = reply["why"].as_str().unwrap_or("the daemon gives no reason");
    Err(Failure::problem(why, "`towpath status` in this pod and its log say more"))
}

fn api(host: &str, port: &str, out: &mut dyn Write) -> Result<Exit, Failure> {
    let parsed = host.parse().ok().zip(port.parse().ok());
    let Some((ip, port)) = parsed else {
        let what = "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no address";
        return Err(Failure::problem(what, "run it in a pod"));
    };
    let address = SocketAddr::new(ip, port);
    match TcpStream::connect_timeout(&address, CONNECT) {
        Ok(_connected) => output::line(out, &format!("connected to {address}")),
        Err(error) => {
            let what = format!("can not connect to kubernetes.default at {address}: {error}");
            let next =
                "`towpath services default/kubernetes` in the daemon's pod of this node says why";
            Err(Failure::problem(what, next))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_is_the_answer() {
        let mut out = Vec::new();
        assert_eq!(judge(&json!({"well": true, "why": ""}), &mut out).unwrap(), Exit::Well);
        assert_eq!(out, b"yes\n");
        let no = judge(&json!({"well": false, "why": "not listed yet: Node"}), &mut out);
        let no = no.unwrap_err();
        assert_eq!((no.exit, no.what.as_str()), (Exit::Problem, "not listed yet: Node"));
        assert_eq!(judge(&json!({}), &mut out).unwrap_err().exit, Exit::Problem);
    }

    #[test]
    fn a_connection_to_the_api_server_is_tried() {
        let mut out = Vec::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        assert_eq!(api("127.0.0.1", &port, &mut out).unwrap(), Exit::Well);
        drop(listener);
        let said = api("127.0.0.1", &port, &mut out).unwrap_err().what;
        assert!(said.contains("Connection refused"), "{said}");
        let said = api("", "", &mut out).unwrap_err();
        assert_eq!((said.exit, said.next.as_str()), (Exit::Problem, "run it in a pod"));
    }
}
