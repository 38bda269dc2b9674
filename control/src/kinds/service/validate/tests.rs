//! What is wrong with a Service, as its user is told.

use super::super::Services as Kind;
use crate::kinds::testing::{defaulted, move_problems, problems, status_problems};
use serde_json::{Value, json};

/// A service as it is after defaulting and admission, with `change` merged into its spec.
fn service(change: Value) -> Value {
    let mut object = json!({"metadata": {"name": "s"}, "spec": {
        "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
        "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80}],
    }});
    let spec = object["spec"].as_object_mut().unwrap();
    for (key, value) in change.as_object().unwrap() {
        if value.is_null() {
            spec.remove(key);
        } else {
            spec.insert(key.clone(), value.clone());
        }
    }
    defaulted::<Kind>(object)
}

#[test]
fn a_good_service_has_no_problems() {
    assert_eq!(problems::<Kind>(service(json!({}))), Vec::<String>::new());
}

#[test]
fn problems_of_the_spec_are_named() {
    let cases = [
        (json!({"ports": null}), vec!["spec.ports: Required value"]),
        (json!({"ports": null, "clusterIP": "None", "clusterIPs": ["None"]}), vec![]),
        (
            json!({"type": "NodePort", "clusterIP": "None", "clusterIPs": ["None"]}),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for \
                 NodePort services",
            ],
        ),
        (
            json!({"ports": [{"port": 80}, {"port": 80, "name": "a"}]}),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
            ],
        ),
        (
            json!({"ports": [{"port": 0, "targetPort": "toolongforaportname", "protocol": "X",
                              "nodePort": 30000}]}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \
                 \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ports[0].targetPort: Invalid value: \"toolongforaportname\": must be no \
                 more than 15 characters",
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ],
        ),
        (
            json!({"type": "ExternalName"}),
            vec![
                "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
                "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
                "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
                "spec.externalName: Required value",
            ],
        ),
        (
            json!({"type": "Magic"}),
            vec![
                "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \
                 \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            json!({"sessionAffinity": "ClientIP",
                   "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
            vec![
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: \
                 must be greater than 0 and less than 86400",
            ],
        ),
        (
            json!({"clusterIPs": ["10.96.0.8"]}),
            vec![
                "spec.clusterIPs: Invalid value: [\"10.96.0.8\"]: first value must match \
                 `clusterIP`",
            ],
        ),
        (
            json!({"clusterIP": "x", "clusterIPs": ["x"]}),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. \
                 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"clusterIPs": ["10.96.0.9", "10.96.0.8"]}),
            vec![
                "spec.clusterIPs: Invalid value: [\"10.96.0.9\",\"10.96.0.8\"]: may specify \
                 no more than one IP for each IP family",
            ],
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"10.96.0.9\": expected an IPv6 value as \
                 indicated by `ipFamilies[0]`",
            ],
        ),
        (
            json!({"externalIPs": ["0.0.0.0"]}),
            vec![
                "spec.externalIPs[0]: Invalid value: \"0.0.0.0\": may not be unspecified \
                 (0.0.0.0)",
            ],
        ),
        (
            json!({"type": "NodePort", "ports": [
                {"name": "a", "port": 1, "nodePort": 30000},
                {"name": "b", "port": 2, "nodePort": 30000},
                {"name": "c", "port": 1, "nodePort": 30000, "protocol": "UDP"},
            ]}),
            vec!["spec.ports[1].nodePort: Duplicate value: 30000"],
        ),
        (
            json!({"loadBalancerSourceRanges": ["10.0.0.0/33"], "loadBalancerClass": "a",
                   "allocateLoadBalancerNodePorts": false}),
            vec![
                "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is \
                 'LoadBalancer'",
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"10.0.0.0/33\": must be a \
                 valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` \
                 is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is \
                 'LoadBalancer'",
            ],
        ),
        (
            json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30000}),
            vec![
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for \
                 externally-accessible services",
                "spec.healthCheckNodePort: Invalid value: 30000: may only be set when `type` \
                 is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ],
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
            vec!["spec.healthCheckNodePort: Required value"],
        ),
        (
            json!({"internalTrafficPolicy": "Near", "trafficDistribution": "Far"}),
            vec![
                "spec.internalTrafficPolicy: Unsupported value: \"Near\": supported values: \
                 \"Cluster\", \"Local\"",
                "spec.trafficDistribution: Unsupported value: \"Far\": supported values: \
                 \"PreferClose\", \"PreferSameZone\", \"PreferSameNode\"",
            ],
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(problems::<Kind>(service(change.clone())), expected, "{change}");
    }
}

#[test]
fn what_is_set_stays() {
    let cases = [
        (json!({}), json!({}), vec![]),
        (
            json!({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8"]}),
            json!({}),
            vec!["spec.clusterIPs[0]: Invalid value: [\"10.96.0.8\"]: may not change once set"],
        ),
        (
            json!({"clusterIP": null, "clusterIPs": null}),
            json!({}),
            vec!["spec.clusterIPs[0]: Invalid value: []: primary clusterIP can not be unset"],
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerClass": "a"}),
            json!({"type": "LoadBalancer"}),
            vec!["spec.loadBalancerClass: Invalid value: \"a\": may not change once set"],
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                   "healthCheckNodePort": 30001}),
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                   "healthCheckNodePort": 30002}),
            vec!["spec.healthCheckNodePort: Forbidden: field is immutable"],
        ),
    ];
    for (new, old, expected) in cases {
        let (new, old) = (service(new), service(old));
        assert_eq!(move_problems::<Kind>(new, old), expected);
    }
}

#[test]
fn only_load_balancers_have_ingresses() {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}});
    let object = |type_: &str| json!({"spec": {"type": type_}, "status": status});
    assert!(status_problems::<Kind>(object("LoadBalancer"), object("LoadBalancer")).is_empty());
    assert_eq!(
        status_problems::<Kind>(object("NodePort"), object("NodePort")),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is \
          'LoadBalancer'"]
    );
}
