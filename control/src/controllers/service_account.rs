//! Every active namespace has a ServiceAccount `default`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::namespace::{NAMESPACES, is_active};
use crate::engine::{Action, Change, Context, Controller, Create, Key, Plan, Reader};

const SERVICE_ACCOUNTS: &str = "serviceaccounts";
const NAME: &str = "default";

/// See the module's documentation.
pub(super) struct ServiceAccounts;

impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn observes(&self) -> &'static [&'static str] {
        &[NAMESPACES, SERVICE_ACCOUNTS]
    }

    fn keys(&self, _reader: &Reader, change: &Change) -> Vec<Key> {
        if &*change.resource == NAMESPACES {
            return vec![Key::new(NAMESPACES, "", change.object.name())];
        }
        if change.deleted && change.object.name() == NAME {
            return vec![Key::new(NAMESPACES, "", change.object.namespace())];
        }
        Vec::new()
    }

    fn plan(&self, context: &Context<'_>, key: &Key) -> Plan {
        let observed = Observed {
            namespace: context.reader.at(key),
            exists: context.reader.object(SERVICE_ACCOUNTS, &key.name, NAME).is_some(),
        };
        plan(&observed)
    }
}

struct Observed {
    namespace: Option<Arc<Namespace>>,
    exists: bool,
}

fn plan(observed: &Observed) -> Plan {
    let Some(namespace) = observed.namespace.as_ref().filter(|namespace| is_active(namespace))
    else {
        return Plan::nothing("namespace not active");
    };
    if observed.exists {
        return Plan::nothing("there is one");
    }
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(name.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    Plan {
        actions: vec![Action::Create(Create::one(SERVICE_ACCOUNTS, &name, &account))],
        why: "namespace lacks its default account".to_owned(),
        ..Plan::default()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::engine::show_plan;

    fn check(namespace: &str, exists: bool, expected: Expect) {
        let namespace = Some(Arc::new(serde_yaml::from_str(namespace).unwrap()));
        expected.assert_eq(&show_plan(&plan(&Observed { namespace, exists })));
    }

    #[test]
    fn an_active_namespace_gets_its_default_account_once() {
        let active = "{metadata: {name: shop}, status: {phase: Active}}";
        check(
            active,
            false,
            expect![[r#"
            create serviceaccounts default x1
            why namespace lacks its default account
        "#]],
        );
        check(
            active,
            true,
            expect![[r#"
            why there is one
        "#]],
        );
        check(
            "{metadata: {name: shop}, status: {phase: Terminating}}",
            false,
            expect![[r#"
            why namespace not active
        "#]],
        );
    }
}
