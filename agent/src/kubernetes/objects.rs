//! The API's objects, trimmed to what is read of them.
//!
//! Everything else is skipped while it is decoded: managed fields, volumes,
//! conditions, images. A field of another type than Kubernetes 1.34 says is an
//! error of the whole answer, so only fields that the API validates are typed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube_client::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::kind::Kind;

/// An object of a kind that is watched.
pub trait Watched:
    Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which kind.
    const KIND: Kind;
}

macro_rules! watched {
    ($($name:ident, $scope:ty;)*) => {$(
        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                Cow::Borrowed(Kind::$name.kind())
            }

            fn group((): &()) -> Cow<'_, str> {
                Cow::Borrowed(Kind::$name.group())
            }

            fn version((): &()) -> Cow<'_, str> {
                Cow::Borrowed(Kind::$name.version())
            }

            fn plural((): &()) -> Cow<'_, str> {
                Cow::Borrowed(Kind::$name.plural())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl Watched for $name {
            const KIND: Kind = Kind::$name;
        }
    )*};
}

watched! {
    Pod, NamespaceResourceScope;
    Service, NamespaceResourceScope;
    EndpointSlice, NamespaceResourceScope;
    Namespace, ClusterResourceScope;
    Node, ClusterResourceScope;
    Mesh, ClusterResourceScope;
    TrafficTrace, ClusterResourceScope;
}

/// `v1/Pod`
#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    /// Trimmed.
    #[serde(deserialize_with = "trimmed")]
    pub metadata: ObjectMeta,
    /// `spec`
    #[serde(default)]
    pub spec: PodSpec,
    /// `status`
    #[serde(default)]
    pub status: PodStatus,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// `nodeName`
    pub node_name: Option<String>,
    /// `hostNetwork`
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// `containers`
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Container>,
    /// `initContainers`, of which those with `restartPolicy: Always` stay.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Container>,
    /// `ephemeralContainers`, which come while a pod runs.
    #[serde(deserialize_with = "nullable")]
    pub ephemeral_containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `name`
    pub name: Option<String>,
    /// `ports`
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ContainerPort>,
    /// `restartPolicy`, of an init container.
    pub restart_policy: Option<String>,
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// `name`
    pub name: Option<String>,
    /// `containerPort`
    pub container_port: u16,
    /// `protocol`, by default TCP.
    pub protocol: Option<String>,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `phase`
    pub phase: Option<String>,
    /// `podIPs`
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pub pod_ips: Vec<PodIp>,
    /// `containerStatuses`
    #[serde(deserialize_with = "nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// `initContainerStatuses`
    #[serde(deserialize_with = "nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// `ephemeralContainerStatuses`
    #[serde(deserialize_with = "nullable")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// An address of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// `ip`
    pub ip: String,
}

/// A container that runs, or ran.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// `name`
    pub name: String,
    /// `containerID`: `containerd://…`
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
    /// `lastState`, of a container that was started again.
    #[serde(rename = "lastState", deserialize_with = "nullable")]
    pub last_state: LastState,
}

/// What a container was before it was started again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LastState {
    /// `terminated`
    pub terminated: Option<Terminated>,
}

/// A container that has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Terminated {
    /// `containerID`
    #[serde(rename = "containerID")]
    pub container_id: Option<String>,
}

/// `v1/Service`
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    /// Trimmed.
    #[serde(deserialize_with = "trimmed")]
    pub metadata: ObjectMeta,
    /// `spec`
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// `clusterIP`: an address, `None` or nothing.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// `clusterIPs`
    #[serde(rename = "clusterIPs", deserialize_with = "nullable")]
    pub cluster_ips: Vec<String>,
    /// `selector`
    #[serde(deserialize_with = "nullable")]
    pub selector: BTreeMap<String, String>,
    /// `ports`
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`; there is none if it is the only one.
    pub name: Option<String>,
    /// `port`
    pub port: u16,
    /// `targetPort`: a number, or the name of a container's port.
    pub target_port: Option<Target>,
    /// `protocol`, by default TCP.
    pub protocol: Option<String>,
    /// `appProtocol`
    pub app_protocol: Option<String>,
}

/// An `IntOrString`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// A number.
    Number(u16),
    /// A name.
    Name(String),
}

/// `discovery.k8s.io/v1/EndpointSlice`; its Service is in a label.
#[derive(Clone, Debug, Deserialize)]
pub struct EndpointSlice {
    /// Trimmed.
    #[serde(deserialize_with = "trimmed")]
    pub metadata: ObjectMeta,
    /// `endpoints`
    #[serde(default, deserialize_with = "nullable")]
    pub endpoints: Vec<Endpoint>,
    /// `ports`, which all endpoints have.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<EndpointPort>,
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// `addresses`: IPs, or a name.
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<String>,
    /// `targetRef`
    pub target_ref: Option<TargetRef>,
}

/// A port of the endpoints of a slice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// `name`: that of the Service's port.
    pub name: Option<String>,
    /// `port`; none means all.
    pub port: Option<u16>,
    /// `protocol`, by default TCP.
    pub protocol: Option<String>,
    /// `appProtocol`
    pub app_protocol: Option<String>,
}

/// What an endpoint is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `kind`
    pub kind: Option<String>,
    /// `uid`
    pub uid: Option<String>,
}

/// `v1/Namespace`
#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    /// Trimmed.
    #[serde(deserialize_with = "trimmed")]
    pub metadata: ObjectMeta,
}

/// `v1/Node`
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Trimmed.
    #[serde(deserialize_with = "trimmed")]
    pub metadata: ObjectMeta,
    /// `status`
    #[serde(default)]
    pub status: NodeStatus,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// `addresses`
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<NodeAddress>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// An IP, or a name.
    pub address: String,
}

/// `kuma.io/v1alpha1/Mesh`, whatever it says.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// Trimmed.
    pub metadata: ObjectMeta,
    /// The whole object.
    pub object: Map<String, Value>,
}

/// `kuma.io/v1alpha1/TrafficTrace`, whatever it says.
#[derive(Clone, Debug)]
pub struct TrafficTrace {
    /// Trimmed.
    pub metadata: ObjectMeta,
    /// The whole object.
    pub object: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Mesh {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, object) = custom(deserializer, Kind::Mesh)?;
        Ok(Self { metadata, object })
    }
}

impl<'de> Deserialize<'de> for TrafficTrace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, object) = custom(deserializer, Kind::TrafficTrace)?;
        Ok(Self { metadata, object })
    }
}

/// An object of which nothing is known but that it has metadata: its schema
/// may be anybody's.
fn custom<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
) -> Result<(ObjectMeta, Map<String, Value>), D::Error> {
    let mut object = Map::<String, Value>::deserialize(deserializer)?;
    let metadata = object.get("metadata").cloned().unwrap_or_default();
    let metadata = trimmed(metadata).map_err(serde::de::Error::custom)?;
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
        metadata.remove("annotations");
    }
    // Items of a list need not say what they are.
    let version = format!("{}/{}", kind.group(), kind.version());
    object.entry("apiVersion").or_insert(Value::String(version));
    let name = Value::String(kind.kind().to_owned());
    object.entry("kind").or_insert(name);
    Ok((metadata, object))
}

/// `null` is what Go writes for an empty list.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `metadata` without what is not read: of annotations Kuma's are, and what
/// tells a static pod.
fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Read {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        generation: Option<i64>,
        creation_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    let mut read = Read::deserialize(deserializer)?;
    if let Some(annotations) = &mut read.annotations {
        annotations.retain(|name, _| name.contains("kuma.io/") || STATIC.contains(&&**name));
    }
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        resource_version: read.resource_version,
        generation: read.generation,
        creation_timestamp: read.creation_timestamp,
        labels: read.labels,
        annotations: read.annotations,
        owner_references: read.owner_references,
        ..ObjectMeta::default()
    })
}

/// On the API's mirror of a static pod: that it is one, and its own UID, which
/// is a hash of its manifest (`pkg/kubelet/types/pod_update.go`).
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// See [`MIRROR`].
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
const STATIC: [&str; 2] = [MIRROR, HASH];
