import pytest

from diet_tf.errors import ConfigError
from pipelines.kubeflow.deployment import Deployment, Resources, Toleration, Volume

IMAGE = "registry.example.com/diet-tf:0.1.0"


@pytest.mark.parametrize("text, value", [
    ("nvidia.com/gpu", {"key": "nvidia.com/gpu", "operator": "Exists"}),
    ("nvidia.com/gpu:NoSchedule", {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}),
    ("team=ads:NoExecute", {"key": "team", "operator": "Equal", "value": "ads", "effect": "NoExecute"}),
])
def test_tolerations_are_written_as_kubectl_writes_taints(text, value):
  assert Toleration.parse(text).to_dict() == value


@pytest.mark.parametrize("text", ["", "=ads", "a b", "team=ads:Never"])
def test_other_tolerations_are_refused(text):
  with pytest.raises(ConfigError, match="--toleration"):
    Toleration.parse(text)


@pytest.mark.parametrize("text", ["claim", "claim:relative", "claim:/", "Claim:/a", ":/a"])
def test_other_volumes_are_refused(text):
  with pytest.raises(ConfigError, match="--pvc"):
    Volume.parse(text)


@pytest.mark.parametrize("arguments, subject", [
    ({"image": "registry.example.com/diet-tf"}, "--image"),
    ({"image": "registry.example.com/diet-tf:latest"}, "--image"),
    ({"s3_secret": "Not A Name"}, "--s3-secret"),
    ({"s3_endpoint": "minio:9000"}, "--s3-endpoint"),
    ({"s3_endpoint": "http://key:secret@minio:9000"}, "--s3-endpoint"),
    ({"node_selector": {"a b": "c"}}, "--node-selector"),
    ({"pipeline_root": "/root"}, "--pipeline-root"),
    ({"store_uri": "minio://bucket/memory"}, "--store"),
    ({"store_uri": "/memory"}, "--store"),
    ({"store_uri": "/memory-other", "volumes": (Volume("claim", "/memory"),)}, "--store"),
])
def test_what_a_cluster_would_stumble_over_is_refused(arguments, subject):
  with pytest.raises(ConfigError) as caught:
    Deployment(**{"image": IMAGE, "store_uri": "s3://bucket/memory", **arguments})
  assert caught.value.subject == subject


@pytest.mark.parametrize("arguments", [{"num_cpus": 0}, {"memory_gigabytes": -1}, {"num_gpus": -1}])
def test_resources_are_checked(arguments):
  with pytest.raises(ConfigError):
    Resources(**arguments)


def test_both_s3_clients_are_told_the_endpoint_and_nobody_without_s3():
  assert Deployment(IMAGE, "s3://b/m", s3_endpoint="https://s3.example.com").environment() == {
      "S3_ENDPOINT": "https://s3.example.com", "AWS_ENDPOINT_URL": "https://s3.example.com",
      "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
  assert Deployment(IMAGE, "s3://b/m", s3_secret="keys", s3_region="eu-west-1").environment() == {
      "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
  assert Deployment(IMAGE, "/m/store", volumes=(Volume("claim", "/m"),)).environment() == {}
