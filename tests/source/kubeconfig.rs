//! Kubeconfigs: what works, and what is refused with words that help.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Ear, QUICK, Reply, Script, nothing};

fn config(current: &str, server: &str, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": current,
        "clusters": [
            { "name": "here", "cluster": { "server": server } },
            { "name": "elsewhere", "cluster": { "server": "http://127.0.0.1:1" } },
        ],
        "users": [{ "name": "me", "user": user }, { "name": "you", "user": { "token": "yours" } }],
        "contexts": [
            { "name": "old", "context": { "cluster": "elsewhere", "user": "you" } },
            { "name": "new", "context": { "cluster": "here", "user": "me" } },
            { "name": "orphan", "context": { "cluster": "here", "user": "stranger" } },
            { "name": "nowhere", "context": { "cluster": "lost", "user": "me" } },
        ],
    })
}

fn ear(config: &str) -> Ear {
    Ear::configured(config, QUICK, tempfile::tempdir().unwrap())
}

/// A server for who has this token.
async fn server(token: &'static str) -> Script {
    Script::start(move |ask| match ask.authorization == format!("Bearer {token}") {
        true => nothing(),
        false => Reply::status(401, "", "Unauthorized"),
    })
    .await
}

/// Why the source does not begin.
async fn refusal(config: &str) -> String {
    ear(config).ends().await.unwrap_err().to_string()
}

#[tokio::test]
async fn of_several_contexts_the_current_one_counts() {
    let server = server("mine").await;
    let config = config("new", &server.url(), &json!({ "token": "mine" }));
    ear(&config.to_string()).until_synced().await;
    assert!(server.asked().iter().all(|ask| ask.authorization == "Bearer mine"));
}

#[tokio::test]
async fn a_kubeconfig_that_leads_nowhere_is_refused_with_its_name_and_the_reason() {
    let url = "http://127.0.0.1:1";
    let user = json!({ "token": "t" });
    let mut without_server = config("new", url, &user);
    without_server["clusters"][0]["cluster"] = json!({});
    let mut proxied = config("new", url, &user);
    proxied["clusters"][0]["cluster"]["proxy-url"] = "http://proxy.example:3128".into();
    let mut none = config("new", url, &user);
    none["current-context"] = Value::Null;
    let of_context = |name: &str| config(name, url, &user).to_string();
    for (config, reason) in [
        (of_context("missing"), "failed to load current context: missing"),
        (of_context("nowhere"), "failed to load the cluster of context: lost"),
        (of_context("orphan"), "names the user \"stranger\", who is not in the file"),
        (none.to_string(), "failed to determine current context"),
        (without_server.to_string(), "cluster url is missing"),
        (proxied.to_string(), "proxies are not supported"),
        ("kind: [".to_owned(), "failed to parse kubeconfig YAML"),
        (String::new(), "context"),
    ] {
        let refusal = refusal(&config).await;
        assert!(refusal.contains("/kubeconfig: ") && refusal.contains(reason), "{refusal}");
    }
}

#[tokio::test]
async fn a_missing_file_is_said_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let ear = Ear::configured("{}", QUICK, dir);
    let path = ear.dir.path().join("kubeconfig");
    // Gone before the source looks: it has not run yet.
    std::fs::remove_file(&path).unwrap();
    let refusal = ear.ends().await.unwrap_err().to_string();
    assert!(refusal.contains(&path.display().to_string()), "{refusal}");
    assert!(refusal.contains("No such file") && refusal.contains("--kubeconfig"), "{refusal}");
}

fn exec(command: &str, mode: &str) -> Value {
    json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": command,
        "interactiveMode": mode, "installHint": "Get it from the vendor.",
    } })
}

#[tokio::test]
async fn a_credential_plugin_gives_the_token_and_waits_for_no_input() {
    let server = server("from-plugin").await;
    let dir = tempfile::tempdir().unwrap();
    let plugin = dir.path().join("plugin");
    // One that would wait for a person is at the end of its input at once.
    let script = "#!/bin/sh\nread answer\ncat <<END\n{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-plugin\"}}\nEND\n";
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let user = exec(&plugin.display().to_string(), "IfAvailable");
    let mut ear = ear(&config("new", &server.url(), &user).to_string());
    ear.until_synced().await;
}

#[tokio::test]
async fn a_credential_plugin_that_is_missing_fails_or_wants_a_person_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let failing = dir.path().join("failing");
    std::fs::write(&failing, "#!/bin/sh\necho no session >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&failing, std::fs::Permissions::from_mode(0o755)).unwrap();
    let failing = failing.display().to_string();
    for (user, reasons) in [
        (
            exec("/nowhere/login", "Never"),
            ["\"/nowhere/login\"", "No such file", "Get it from the vendor"],
        ),
        (exec(&failing, "Never"), [&failing, "no session", "or use a token"]),
        (exec("login", "Always"), ["\"login\"", "wants a terminal", "a daemon has none"]),
    ] {
        let refusal = refusal(&config("new", "http://127.0.0.1:1", &user).to_string()).await;
        for reason in reasons {
            assert!(refusal.contains(reason), "{reason}: {refusal}");
        }
    }
}
