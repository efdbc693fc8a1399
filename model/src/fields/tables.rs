//! The fields of each kind, as of Kubernetes 1.37 (core/v1, discovery.k8s.io/v1).

use super::Shape::{self, Any, Fields, List};

const META: Shape = Fields(&[
    ("annotations", Any),
    ("creationTimestamp", Any),
    ("deletionGracePeriodSeconds", Any),
    ("deletionTimestamp", Any),
    ("finalizers", Any),
    ("generateName", Any),
    ("generation", Any),
    ("labels", Any),
    ("managedFields", Any),
    ("name", Any),
    ("namespace", Any),
    ("ownerReferences", Any),
    ("resourceVersion", Any),
    ("selfLink", Any),
    ("uid", Any),
]);

pub(crate) const SERVICE: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    ("spec", SERVICE_SPEC),
    (
        "status",
        Fields(&[
            ("conditions", Any),
            (
                "loadBalancer",
                Fields(&[(
                    "ingress",
                    List(&Fields(&[
                        ("hostname", Any),
                        ("ip", Any),
                        ("ipMode", Any),
                        ("ports", Any),
                    ])),
                )]),
            ),
        ]),
    ),
]);

const SERVICE_SPEC: Shape = Fields(&[
    ("allocateLoadBalancerNodePorts", Any),
    ("clusterIP", Any),
    ("clusterIPs", Any),
    ("externalIPs", Any),
    ("externalName", Any),
    ("externalTrafficPolicy", Any),
    ("healthCheckNodePort", Any),
    ("internalTrafficPolicy", Any),
    ("ipFamilies", Any),
    ("ipFamilyPolicy", Any),
    ("loadBalancerClass", Any),
    ("loadBalancerIP", Any),
    ("loadBalancerSourceRanges", Any),
    (
        "ports",
        List(&Fields(&[
            ("appProtocol", Any),
            ("name", Any),
            ("nodePort", Any),
            ("port", Any),
            ("protocol", Any),
            ("targetPort", Any),
        ])),
    ),
    ("publishNotReadyAddresses", Any),
    ("selector", Any),
    ("sessionAffinity", Any),
    ("sessionAffinityConfig", Fields(&[("clientIP", Fields(&[("timeoutSeconds", Any)]))])),
    ("trafficDistribution", Any),
    ("type", Any),
]);

pub(crate) const ENDPOINT_SLICE: Shape = Fields(&[
    ("addressType", Any),
    ("apiVersion", Any),
    (
        "endpoints",
        List(&Fields(&[
            ("addresses", Any),
            ("conditions", Fields(&[("ready", Any), ("serving", Any), ("terminating", Any)])),
            ("deprecatedTopology", Any),
            ("hints", Fields(&[("forNodes", List(&NAMED)), ("forZones", List(&NAMED))])),
            ("hostname", Any),
            ("nodeName", Any),
            (
                "targetRef",
                Fields(&[
                    ("apiVersion", Any),
                    ("fieldPath", Any),
                    ("kind", Any),
                    ("name", Any),
                    ("namespace", Any),
                    ("resourceVersion", Any),
                    ("uid", Any),
                ]),
            ),
            ("zone", Any),
        ])),
    ),
    ("kind", Any),
    ("metadata", META),
    (
        "ports",
        List(&Fields(&[("appProtocol", Any), ("name", Any), ("port", Any), ("protocol", Any)])),
    ),
]);

const NAMED: Shape = Fields(&[("name", Any)]);

pub(crate) const NODE: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    (
        "spec",
        Fields(&[
            ("configSource", Any),
            ("externalID", Any),
            ("podCIDR", Any),
            ("podCIDRs", Any),
            ("providerID", Any),
            ("taints", Any),
            ("unschedulable", Any),
        ]),
    ),
    (
        "status",
        Fields(&[
            ("addresses", List(&Fields(&[("address", Any), ("type", Any)]))),
            ("allocatable", Any),
            ("capacity", Any),
            ("conditions", Any),
            ("config", Any),
            ("daemonEndpoints", Any),
            ("declaredFeatures", Any),
            ("features", Any),
            ("images", Any),
            ("nodeInfo", Any),
            ("phase", Any),
            ("runtimeHandlers", Any),
            ("volumesAttached", Any),
            ("volumesInUse", Any),
        ]),
    ),
]);

pub(crate) const NAMESPACE: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    ("spec", Fields(&[("finalizers", Any)])),
    ("status", Fields(&[("conditions", Any), ("phase", Any)])),
]);

pub(crate) const CONFIG_MAP: Shape = Fields(&[
    ("apiVersion", Any),
    ("binaryData", Any),
    ("data", Any),
    ("immutable", Any),
    ("kind", Any),
    ("metadata", META),
]);

const SELECTOR: Shape = Fields(&[
    ("matchExpressions", List(&Fields(&[("key", Any), ("operator", Any), ("values", Any)]))),
    ("matchLabels", Any),
]);

const POLICY_PEERS: Shape = List(&Fields(&[
    ("ipBlock", Fields(&[("cidr", Any), ("except", Any)])),
    ("namespaceSelector", SELECTOR),
    ("podSelector", SELECTOR),
]));

const POLICY_PORTS: Shape = List(&Fields(&[("endPort", Any), ("port", Any), ("protocol", Any)]));

pub(crate) const NETWORK_POLICY: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    (
        "spec",
        Fields(&[
            ("egress", List(&Fields(&[("ports", POLICY_PORTS), ("to", POLICY_PEERS)]))),
            ("ingress", List(&Fields(&[("from", POLICY_PEERS), ("ports", POLICY_PORTS)]))),
            ("podSelector", SELECTOR),
            ("policyTypes", Any),
        ]),
    ),
]);

pub(crate) const SERVICE_CIDR: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    ("spec", Fields(&[("cidrs", Any)])),
    ("status", Fields(&[("conditions", Any)])),
]);

pub(crate) const POD: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    (
        "spec",
        Fields(&[
            ("activeDeadlineSeconds", Any),
            ("affinity", Any),
            ("automountServiceAccountToken", Any),
            ("containers", Any),
            ("dnsConfig", Any),
            ("dnsPolicy", Any),
            ("enableServiceLinks", Any),
            ("ephemeralContainers", Any),
            ("hostAliases", Any),
            ("hostIPC", Any),
            ("hostNetwork", Any),
            ("hostPID", Any),
            ("hostUsers", Any),
            ("hostname", Any),
            ("hostnameOverride", Any),
            ("imagePullSecrets", Any),
            ("initContainers", Any),
            ("nodeName", Any),
            ("nodeSelector", Any),
            ("os", Any),
            ("overhead", Any),
            ("preemptionPolicy", Any),
            ("priority", Any),
            ("priorityClassName", Any),
            ("readinessGates", Any),
            ("resourceClaims", Any),
            ("resources", Any),
            ("restartPolicy", Any),
            ("runtimeClassName", Any),
            ("schedulerName", Any),
            ("schedulingGates", Any),
            ("schedulingGroup", Any),
            ("securityContext", Any),
            ("serviceAccount", Any),
            ("serviceAccountName", Any),
            ("setHostnameAsFQDN", Any),
            ("shareProcessNamespace", Any),
            ("subdomain", Any),
            ("terminationGracePeriodSeconds", Any),
            ("tolerations", Any),
            ("topologySpreadConstraints", Any),
            ("volumes", Any),
            ("workloadRef", Any),
        ]),
    ),
    (
        "status",
        Fields(&[
            ("allocatedResources", Any),
            ("conditions", Any),
            ("containerStatuses", Any),
            ("ephemeralContainerStatuses", Any),
            ("extendedResourceClaimStatus", Any),
            ("hostIP", Any),
            ("hostIPs", Any),
            ("initContainerStatuses", Any),
            ("message", Any),
            ("nominatedNodeName", Any),
            ("observedGeneration", Any),
            ("phase", Any),
            ("podIP", Any),
            ("podIPs", Any),
            ("qosClass", Any),
            ("reason", Any),
            ("resize", Any),
            ("resourceClaimStatuses", Any),
            ("resources", Any),
            ("startTime", Any),
        ]),
    ),
]);

const INGRESS_BACKEND: Shape = Fields(&[
    ("resource", Any),
    ("service", Fields(&[("name", Any), ("port", Fields(&[("name", Any), ("number", Any)]))])),
]);

pub(crate) const INGRESS: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    (
        "spec",
        Fields(&[
            ("defaultBackend", INGRESS_BACKEND),
            ("ingressClassName", Any),
            (
                "rules",
                List(&Fields(&[
                    ("host", Any),
                    (
                        "http",
                        Fields(&[(
                            "paths",
                            List(&Fields(&[
                                ("backend", INGRESS_BACKEND),
                                ("path", Any),
                                ("pathType", Any),
                            ])),
                        )]),
                    ),
                ])),
            ),
            ("tls", List(&Fields(&[("hosts", Any), ("secretName", Any)]))),
        ]),
    ),
    ("status", Fields(&[("loadBalancer", Any)])),
]);

pub(crate) const INGRESS_CLASS: Shape = Fields(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("metadata", META),
    ("spec", Fields(&[("controller", Any), ("parameters", Any)])),
]);

pub(crate) const SECRET: Shape = Fields(&[
    ("apiVersion", Any),
    ("data", Any),
    ("immutable", Any),
    ("kind", Any),
    ("metadata", META),
    ("stringData", Any),
    ("type", Any),
]);
