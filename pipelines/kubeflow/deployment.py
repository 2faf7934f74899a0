"""Where and how the pipeline's containers run: what a cluster must know, and the config of a log does not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from diet_tf.errors import ConfigError
from diet_tf.io import files
from diet_tf.log.salt import Salt

# Nodes that train models on a GPU where there is one: the teacher is trained in InfluenceScorer.
TRAINING_NODES = ("InfluenceScorer", "DistillTrainer")
# Nodes that hash rows, and nobody else needs the secret that they are hashed with.
ENCODING_NODES = ("LogGen",)
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# Environment variables that the S3 clients read, by the secret's key of the same name.
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

# A name that Kubernetes gives to an object: labels of DNS, joined by dots.
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def _require(holds: bool, subject: str, rule: str, received: object, remedy: str) -> None:
  if not holds:
    raise ConfigError(subject, rule=rule, received=repr(received), remedy=remedy)


@dataclasses.dataclass(frozen=True)
class Toleration:
  """A taint of a node that containers put up with.

  Attributes:
    key: key of the taint.
    value: value of the taint; empty tolerates every value.
    effect: effect of the taint, one of `EFFECTS`; empty tolerates all of them.
  """

  key: str
  value: str = ""
  effect: str = ""

  @classmethod
  def parse(cls, text: str) -> Toleration:
    """The toleration in `KEY[=VALUE][:EFFECT]`, as `kubectl taint` writes taints.

    Raises:
      ConfigError: it is something else.
    """
    taint, _, effect = text.partition(":")
    key, _, value = taint.partition("=")
    _require(bool(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)) and (not effect or effect in EFFECTS),
             "--toleration", f"it is KEY[=VALUE][:EFFECT], with names of at most 63 characters and an effect of "
             f"{', '.join(EFFECTS)}.", text,
             "write it like nvidia.com/gpu=present:NoSchedule.")
    return cls(key, value, effect)

  def to_dict(self) -> dict[str, str]:
    """The toleration in the words of Kubernetes."""
    operator = {"operator": "Equal", "value": self.value} if self.value else {"operator": "Exists"}
    return {"key": self.key, **operator, **({"effect": self.effect} if self.effect else {})}


@dataclasses.dataclass(frozen=True)
class Volume:
  """A persistent volume claim, and where containers see it.

  Attributes:
    claim: name of the claim, in the namespace of the run.
    path: absolute folder in the container.
  """

  claim: str
  path: str

  @classmethod
  def parse(cls, text: str) -> Volume:
    """The volume in `CLAIM:PATH`.

    Raises:
      ConfigError: it is something else.
    """
    claim, _, path = text.partition(":")
    _require(bool(_OBJECT_NAME.fullmatch(claim)) and path.startswith("/") and path != "/", "--pvc",
             "it is CLAIM:PATH, with an absolute path.", text, "write it like diet-memory:/memory.")
    return cls(claim, path)


@dataclasses.dataclass(frozen=True)
class Resources:
  """What one container asks for; Kubernetes reserves it, and holds the container to it.

  Attributes:
    num_cpus: cores.
    memory_gigabytes: memory, in 10^9 bytes.
    num_gpus: devices.
  """

  num_cpus: float = 2.0
  memory_gigabytes: float = 8.0
  num_gpus: int = 0

  def __post_init__(self) -> None:
    for name in ("num_cpus", "memory_gigabytes"):
      _require(getattr(self, name) > 0, name, "it is positive.", getattr(self, name), "raise it.")
    _require(self.num_gpus >= 0, "num_gpus", "it is not negative.", self.num_gpus, "use 0 for none.")

  def to_dict(self, gpu_resource: str) -> dict[str, object]:
    """The resources in the words of a pipeline spec: requests and limits are the same."""
    value: dict[str, object] = {
        "cpuLimit": self.num_cpus, "cpuRequest": self.num_cpus, "memoryLimit": self.memory_gigabytes,
        "memoryRequest": self.memory_gigabytes}
    if self.num_gpus:
      value["accelerator"] = {"type": gpu_resource, "count": str(self.num_gpus)}
    return value


@dataclasses.dataclass(frozen=True)
class Deployment:
  """How the pipeline's containers run.

  Attributes:
    image: name of the image that every container runs, with a tag or digest.
    store_uri: root of the store of memories, as containers see it; a run can set another.
    pipeline_root: URI below which artifacts are kept; empty takes the cluster's default.
    resources: resources of each container that does not train.
    training_resources: resources of each container of `TRAINING_NODES`, which train.
    gpu_resource: the name by which Kubernetes knows the devices.
    node_selector: labels of the nodes that training may run on.
    tolerations: taints that the containers that train put up with.
    s3_secret: name of a secret with `SECRET_KEYS`; empty for none.
    s3_endpoint: URL of an S3 server other than Amazon's; empty for none.
    s3_region: region of that S3 server.
    volumes: volumes that are mounted into every container.
    image_pull_secret: name of a secret; empty for none.
    salt_secret: name of a secret with the key `salt_variable`, for `ENCODING_NODES` alone; empty for none.
    salt_variable: the environment variable of the config that ids are hashed with; empty for none.
  """

  image: str
  store_uri: str
  pipeline_root: str = ""
  resources: Resources = Resources()
  training_resources: Resources = Resources(num_cpus=4.0, memory_gigabytes=16.0)
  gpu_resource: str = "nvidia.com/gpu"
  node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
  tolerations: tuple[Toleration, ...] = ()
  s3_secret: str = ""
  s3_endpoint: str = ""
  s3_region: str = "us-east-1"
  volumes: tuple[Volume, ...] = ()
  image_pull_secret: str = ""
  salt_secret: str = ""
  salt_variable: str = ""

  def __post_init__(self) -> None:
    _require(bool(re.fullmatch(r"\S+[:@]\S+", self.image)) and not self.image.endswith(":latest"), "--image",
             "it names an image with a tag or digest, other than latest: a run must be repeatable.", self.image,
             "write it like registry.example.com/diet-tf:0.1.0.")
    for name, value in (("--s3-secret", self.s3_secret), ("--image-pull-secret", self.image_pull_secret),
                        ("--salt-secret", self.salt_secret)):
      _require(not value or bool(_OBJECT_NAME.fullmatch(value)), name, "it is the name of a Kubernetes secret.", value,
               "use lower-case letters, digits, '-' and '.'.")
    # tensorflow-io waits for ever on an endpoint without a scheme.
    _require(not self.s3_endpoint or bool(re.fullmatch(r"https?://[^\s@]+", self.s3_endpoint)), "--s3-endpoint",
             "it is a URL that begins with http:// or https://, without credentials.", self.s3_endpoint,
             "write it like http://minio.kubeflow:9000, and keep credentials in the secret.")
    for key, value in self.node_selector.items():
      _require(bool(_LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value)), "--node-selector",
               "its keys and values are labels of nodes, of at most 63 characters.", f"{key}={value}",
               "write it like cloud.example.com/gpu=a100.")
    _require(not self.pipeline_root or files.is_remote(self.pipeline_root), "--pipeline-root",
             "it is a URI that the cluster's containers reach.", self.pipeline_root,
             "use s3://, gs:// or minio://, or leave it out for the cluster's default.")
    self._check_store()

  def _check_store(self) -> None:
    uri = self.store_uri
    _require(not uri.startswith("minio://"), "--store", "it is a URI that the components themselves open.", uri,
             "write it as s3://, with --s3-endpoint.")
    if files.is_remote(uri):
      return
    mounted = [volume.path for volume in self.volumes]
    _require(any(uri == path or uri.startswith(f"{path}/") for path in mounted), "--store",
             f"a folder lies on a volume that outlives the containers; mounted are: {', '.join(mounted) or 'none'}.",
             uri, "mount a claim there (--pvc CLAIM:PATH), or use s3:// or gs://.")

  def with_salt(self, salt: Salt | None) -> Deployment:
    """The deployment with the variable of a feature spec's salt.

    Raises:
      ConfigError: there is a salt and no secret for it, or the other way round.
    """
    _require(salt is None or bool(self.salt_secret), "--salt-secret", "it names the Kubernetes secret with the salt "
             f"that ids are hashed with, under the key {salt.environment_variable if salt else ''}.", self.salt_secret,
             "kubectl create secret generic NAME --from-file=..., and pass --salt-secret NAME.")
    _require(salt is not None or not self.salt_secret, "--salt-secret", "it goes with the config's "
             "privacy.salt_environment_variable.", self.salt_secret, "set that key, or leave out --salt-secret.")
    return self if salt is None else dataclasses.replace(self, salt_variable=salt.environment_variable)

  def environment(self) -> dict[str, str]:
    """The containers' environment, without secrets: tensorflow-io and Beam read the endpoint in words of their own."""
    if not (self.s3_endpoint or self.s3_secret):
      return {}
    endpoint = {"S3_ENDPOINT": self.s3_endpoint, "AWS_ENDPOINT_URL": self.s3_endpoint} if self.s3_endpoint else {}
    return {**endpoint, "AWS_REGION": self.s3_region, "AWS_DEFAULT_REGION": self.s3_region}
