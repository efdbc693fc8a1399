//! What the API server fills into an EndpointSlice before anybody sees it. The defaults of the other
//! kinds are in the decoders: there, what is left out means the same for every source.

use serde_json::{Value, json};

/// A port without a name is the unnamed port, one without a protocol is TCP. Readers of the API
/// rely on it: to them, a port that still has no name leads nowhere (services.md 1.1).
pub fn default_slice(slice: &mut Value) {
    let ports = slice.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (field, default) in [("name", ""), ("protocol", "TCP")] {
            let value = port.entry(field).or_insert(Value::Null);
            if value.is_null() {
                *value = json!(default);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Kind, Object, decode,
        service::Cidr,
        synth::{Allocations, Allocator, Written},
        wire::pod::decode_pod,
    };

    #[test]
    fn ports_get_a_name_and_a_protocol_and_nothing_else_changes() {
        let mut slice = json!({"ports": [{"port": 80}, {"name": "a", "protocol": "UDP"}, 5],
            "endpoints": []});
        default_slice(&mut slice);
        let expected = json!({"ports": [{"port": 80, "name": "", "protocol": "TCP"},
            {"name": "a", "protocol": "UDP"}, 5], "endpoints": []});
        assert_eq!(slice, expected);
        for mut odd in [json!(null), json!([]), json!({"ports": "many"}), json!({"ports": null})] {
            let before = odd.clone();
            default_slice(&mut odd);
            assert_eq!(odd, before);
        }
    }

    /// Everything that is made of an object, as text.
    fn read(kind: &str, mut object: Value) -> String {
        object["metadata"]["name"] = json!("x");
        let bytes = |object: &Value| object.to_string().into_bytes();
        match kind {
            "Service" => {
                let ranges = ["10.96.0.0/16", "fd00:96::/112"].map(|r| Cidr::parse(r).unwrap());
                let mut allocator = Allocator::new(&ranges, Allocations::default());
                let mut written = [Written::read(&bytes(&object)).unwrap()];
                let filled = allocator.fill_all(&mut written, &[].into());
                assert_eq!((filled.problems, filled.refused), ([].into(), [].into()));
                format!("{:?}", written[0].service)
            }
            "Pod" => format!("{:?}", decode_pod(&bytes(&object)).unwrap()),
            _ => {
                object["metadata"]["labels"] = json!({"kubernetes.io/service-name": "s"});
                default_slice(&mut object);
                let read = decode(Kind::EndpointSlice, &bytes(&object)).unwrap();
                let Object::EndpointSlice(slice) = read else { panic!() };
                assert_eq!(slice.meta.problems, [].into());
                format!("{slice:?}")
            }
        }
    }

    /// core/v1 and discovery.k8s.io/v1 of Kubernetes 1.37 (SetDefaults, and what the Service's storage
    /// fills in), as far as a field is read here. Of a Node's fields that are read none has a default.
    #[test]
    fn what_is_left_out_has_the_default_of_the_api() {
        let spec = |spec: Value| json!({ "spec": spec });
        let port = |port: Value| json!({"spec": {"ports": [port]}});
        let balanced = |rest: Value| {
            let mut object = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
            object["spec"].as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            object
        };
        let ingress = |ingress: Value| {
            let mut object = balanced(json!({}));
            object["status"] = json!({"loadBalancer": {"ingress": [ingress]}});
            object
        };
        let affinity = |config: Value| {
            spec(json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}))
        };
        let seconds = affinity(json!({"clientIP": {"timeoutSeconds": 10_800}}));
        let endpoint = |conditions: Value| {
            json!({"addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": conditions}]})
        };
        let slice_port = |port: Value| json!({"addressType": "IPv4", "ports": [port]});
        let pod_port = |port: Value| json!({"spec": {"containers": [{"ports": [port]}]}});
        for (kind, by_hand, written_out) in [
            ("Service", json!({}), json!({"metadata": {"namespace": "default"}})),
            ("Service", json!({}), spec(json!({}))),
            ("Service", spec(json!({})), spec(json!({"type": "ClusterIP"}))),
            ("Service", spec(json!({"type": ""})), spec(json!({"type": "ClusterIP"}))),
            ("Service", spec(json!({})), spec(json!({"sessionAffinity": "None"}))),
            ("Service", affinity(json!(null)), seconds.clone()),
            ("Service", affinity(json!({})), seconds.clone()),
            ("Service", affinity(json!({"clientIP": null})), seconds.clone()),
            ("Service", affinity(json!({"clientIP": {}})), seconds),
            (
                "Service",
                spec(json!({})),
                spec(json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}})),
            ),
            ("Service", spec(json!({})), spec(json!({"publishNotReadyAddresses": false}))),
            ("Service", spec(json!({})), spec(json!({"internalTrafficPolicy": "Cluster"}))),
            ("Service", spec(json!({})), spec(json!({"ipFamilyPolicy": "SingleStack"}))),
            ("Service", spec(json!({})), spec(json!({"ipFamilies": ["IPv4"]}))),
            (
                "Service",
                spec(json!({"clusterIP": "10.96.0.5"})),
                spec(json!({"clusterIPs": ["10.96.0.5"]})),
            ),
            (
                "Service",
                spec(json!({"clusterIP": "None"})),
                spec(json!({"clusterIPs": ["None"], "ipFamilyPolicy": "RequireDualStack"})),
            ),
            ("Service", port(json!({"port": 80})), port(json!({"port": 80, "protocol": "TCP"}))),
            ("Service", port(json!({"port": 80})), port(json!({"port": 80, "name": ""}))),
            ("Service", port(json!({"port": 80})), port(json!({"port": 80, "targetPort": 80}))),
            (
                "Service",
                port(json!({"port": 80, "targetPort": 0})),
                port(json!({"port": 80, "targetPort": 80})),
            ),
            (
                "Service",
                port(json!({"port": 80, "targetPort": ""})),
                port(json!({"port": 80, "targetPort": 80})),
            ),
            ("Service", balanced(json!({})), balanced(json!({"externalTrafficPolicy": "Cluster"}))),
            (
                "Service",
                balanced(json!({})),
                balanced(json!({"allocateLoadBalancerNodePorts": true})),
            ),
            (
                "Service",
                ingress(json!({"ip": "192.0.2.1"})),
                ingress(json!({"ip": "192.0.2.1", "ipMode": "VIP"})),
            ),
            (
                "EndpointSlice",
                slice_port(json!({"port": 1})),
                slice_port(json!({"port": 1, "name": ""})),
            ),
            (
                "EndpointSlice",
                slice_port(json!({"port": 1})),
                slice_port(json!({"port": 1, "protocol": "TCP"})),
            ),
            (
                "EndpointSlice",
                endpoint(json!(null)),
                endpoint(json!({"ready": true, "serving": true, "terminating": false})),
            ),
            (
                "Pod",
                pod_port(json!({"name": "a", "containerPort": 1})),
                pod_port(json!({"name": "a", "containerPort": 1, "protocol": "TCP"})),
            ),
            (
                "Pod",
                json!({"status": {"podIP": "10.0.0.1"}}),
                json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
            ),
        ] {
            let shown = format!("{by_hand} and {written_out}");
            assert_eq!(read(kind, by_hand), read(kind, written_out), "{kind} {shown}");
        }
        let unnamed = read("EndpointSlice", slice_port(json!({"port": 1})));
        assert!(unnamed.contains("name: \"\""), "{unnamed}");
    }
}
