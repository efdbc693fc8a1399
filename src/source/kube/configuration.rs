//! How to authenticate: the pod's service account, or a kubeconfig.

use std::path::Path;

use kube::{
    Config,
    config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig},
};
use towpath_image::chain;

use crate::config::Access;

/// The configuration for reaching the API server is unusable.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}; {action}")]
pub struct ConnectError {
    what: String,
    cause: String,
    action: String,
}

impl ConnectError {
    pub(super) fn new(what: String, cause: String, action: &str) -> Self {
        Self { what, cause, action: action.to_owned() }
    }
}

/// Read anew from wherever it is.
pub(super) async fn configuration(access: &Access) -> Result<Config, ConnectError> {
    let mut config = match access {
        Access::InCluster => Config::incluster_env().map_err(|error| {
            let action = "mount it (automountServiceAccountToken), or give --kubeconfig";
            ConnectError::new("the pod's service account".to_owned(), chain(&error), action)
        })?,
        Access::Kubeconfig(path) => kubeconfig(path).await?,
    };
    // Silence is judged by the watch loop, which knows about bookmarks.
    config.read_timeout = None;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    Ok(config)
}

async fn kubeconfig(path: &Path) -> Result<Config, ConnectError> {
    let what = format!("kubeconfig {}", path.display());
    let failed = |cause: String, action: &str| ConnectError::new(what.clone(), cause, action);
    let file = Kubeconfig::read_from(path)
        .map_err(|error| failed(chain(&error), "check the file given to --kubeconfig"))?;
    refuse_what_would_be_overlooked(&file).map_err(|(cause, action)| failed(cause, action))?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(file, &options);
    let mut config = config.await.map_err(|error| {
        failed(chain(&error), "check the current context, and the cluster and user that it names")
    })?;
    if let Some(exec) = &mut config.auth_info.exec {
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            let command = exec.command.as_deref().unwrap_or_default();
            let cause = format!("the credential plugin {command:?} wants a terminal");
            let action = "a daemon has none: use a token, a tokenFile or a client certificate, or a \
                          plugin whose interactiveMode is not Always";
            return Err(failed(cause, action));
        }
        // Its messages are for our log, and it must not wait for a person.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    Ok(config)
}

/// What would be passed over in silence and then fail in another place, or not at all.
fn refuse_what_would_be_overlooked(file: &Kubeconfig) -> Result<(), (String, &'static str)> {
    let Some(current) = &file.current_context else { return Ok(()) };
    let context = file.contexts.iter().find(|context| context.name == *current);
    let Some(context) = context.and_then(|named| named.context.as_ref()) else { return Ok(()) };
    if let Some(user) = &context.user
        && !file.auth_infos.iter().any(|known| known.name == *user)
    {
        let cause =
            format!("the context {current:?} names the user {user:?}, who is not in the file");
        return Err((cause, "add the user, or name another one"));
    }
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
    if let Some(proxy) = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref()) {
        let cause =
            format!("the cluster {:?} is reached through the proxy {proxy}", context.cluster);
        return Err((
            cause,
            "proxies are not supported: give an address that the node reaches itself",
        ));
    }
    Ok(())
}
