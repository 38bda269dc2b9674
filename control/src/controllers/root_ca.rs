//! Every active namespace has a ConfigMap `kube-root-ca.crt` with the cluster's CA.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::namespace::{NAMESPACES, is_active};
use crate::engine::{
    Action, Change, Context, Controller, Create, EngineConfig, Key, Plan, Reader, Update,
};

const CONFIG_MAPS: &str = "configmaps";
const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION_KEY: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// See the module's documentation.
pub(super) struct RootCa {
    ca_pem: String,
}

impl RootCa {
    pub(super) fn new(config: &EngineConfig) -> Self {
        Self { ca_pem: config.ca_pem.clone() }
    }
}

impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[CONFIG_MAPS, NAMESPACES]
    }

    fn keys(&self, _reader: &Reader, change: &Change) -> Vec<Key> {
        if &*change.resource == NAMESPACES {
            return vec![Key::new(NAMESPACES, "", change.object.name())];
        }
        if change.object.name() == NAME {
            return vec![Key::new(NAMESPACES, "", change.object.namespace())];
        }
        Vec::new()
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        plan(&Observed {
            namespace: context.reader.at(key),
            published: context.reader.get(CONFIG_MAPS, &key.name, NAME),
            ca_pem: &self.ca_pem,
        })
    }
}

struct Observed<'a> {
    namespace: Option<Arc<Namespace>>,
    published: Option<Arc<ConfigMap>>,
    ca_pem: &'a str,
}

fn plan(observed: &Observed<'_>) -> Plan {
    if observed.ca_pem.is_empty() {
        return Plan::nothing("there is no CA to publish");
    }
    let Some(namespace) = observed.namespace.as_ref().filter(|namespace| is_active(namespace))
    else {
        return Plan::nothing("namespace not active");
    };
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let data = BTreeMap::from([("ca.crt".to_owned(), observed.ca_pem.to_owned())]);
    let Some(published) = &observed.published else {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(name.clone()),
                annotations: Some(describe(BTreeMap::new())),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        };
        return Plan {
            actions: vec![Action::Create(Create::one(CONFIG_MAPS, &name, &map))],
            why: "namespace lacks the CA".to_owned(),
            ..Plan::default()
        };
    };
    let annotations = published.metadata.annotations.clone().unwrap_or_default();
    if published.data.as_ref() == Some(&data) && annotations.contains_key(DESCRIPTION_KEY) {
        return Plan::nothing("published");
    }
    let mut map = (**published).clone();
    map.data = Some(data);
    map.metadata.annotations = Some(describe(annotations));
    Plan {
        actions: vec![Action::Update(Update::whole(Key::new(CONFIG_MAPS, &name, NAME), &map))],
        why: "what is published is not the CA".to_owned(),
        ..Plan::default()
    }
}

fn describe(mut annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.insert(DESCRIPTION_KEY.to_owned(), DESCRIPTION.to_owned());
    annotations
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(published: Option<&str>, expected: Expect) {
        let namespace = "{metadata: {name: shop}, status: {phase: Active}}";
        let observed = Observed {
            namespace: Some(Arc::new(serde_yaml::from_str(namespace).unwrap())),
            published: published.map(|text| Arc::new(serde_yaml::from_str(text).unwrap())),
            ca_pem: "PEM",
        };
        expected.assert_eq(&show_plan(&plan(&observed)));
    }

    #[test]
    fn the_ca_is_published_and_kept() {
        check(
            None,
            expect![[r#"
            create configmaps kube-root-ca.crt x1
            why namespace lacks the CA
        "#]],
        );
        check(
            Some("{metadata: {}, data: {ca.crt: OLD}}"),
            expect![[r#"
            update configmaps/shop/kube-root-ca.crt whole
            why what is published is not the CA
        "#]],
        );
        check(
            Some("{metadata: {annotations: {kubernetes.io/description: x}}, data: {ca.crt: PEM}}"),
            expect![[r#"
                why published
            "#]],
        );
    }
}
